"""The commands about consumers, byte for byte, and what a member asks and says; without I/O."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from eventflowdb.client import consumers, exchanges
from eventflowdb.client.appends import Checkpoint, StreamAppend
from eventflowdb.client.consumers import ConsumerQuery, ConsumerStatus, ConsumerSummary, ParkedEvent
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.membership import FORMER_NAMES_MAX, Fetched, Membership
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.errors import CorruptRecord, EventflowError, InvalidArgument, NoSuchConsumer, TryAgain
from eventflowdb.limits import CONSUMER_NAME_BYTES_MAX, WINDOW_EVENTS_MAX

from .samples import EVENT, EVENT_JSON, STREAM, event_json

LOST = ConnectionLost.because("reset")
CHECKPOINT = Checkpoint("c", "m", EVENT.id)
SUMMARY_JSON = (
    b'{"consumer":"c","query":{"types":["A"]},"timeout_ms":1,"retry_ms":2,"tries_max":3,"checkpoint":"%b"}'
    % EVENT.id.encode()
)
QUERY = ConsumerQuery(types=("A",))
GIVEN: dict[str, Any] = {"name": "c", "query": QUERY, "timeout_ms": 1, "retry_ms": 2, "tries_max": 3}
SUMMARY = ConsumerSummary(**GIVEN, checkpoint=EVENT.id)
STATUS_JSON = SUMMARY_JSON[:-1] + b',"lag":4,"lag_is_whole":false,"lag_ms":5,"in_flight":6,"members":7,"parked":8}'
STATUS = ConsumerStatus(
    **GIVEN, checkpoint=EVENT.id, lag=4, lag_is_whole=False, lag_ms=5, in_flight=6, members=7, parked=8
)
TERMS = {"types": ["A"], "tags": ["t"], "correlation_id": EVENT.id, "causation_id": EVENT.id}
OPTIONS = {"after": "end", "timeout_ms": 1, "retry_ms": 0, "tries_max": 0}
PARKED_JSON = b'{"event":%b,"tries":10,"parked_at":"2026-11-24T12:00:00.000000Z","reason":"no"}' % EVENT_JSON
PARKED = ParkedEvent(EVENT, 10, "2026-11-24T12:00:00.000000Z", "no")


@pytest.mark.parametrize(
    ("exchange", "command", "argument"),
    [
        (consumers.create("c", {}), b"CONSUMER", {"create": "c"}),
        (
            consumers.create(
                "c",
                {"stream": UUID(STREAM), **TERMS, **OPTIONS},  # type: ignore[typeddict-item]
            ),
            b"CONSUMER",
            {"create": "c", "query": {"stream": STREAM, **TERMS}, **OPTIONS},
        ),
        (consumers.delete("c"), b"CONSUMER", {"delete": "c"}),
        (consumers.reset("c"), b"CONSUMER", {"reset": "c"}),
        (consumers.reset("c", "end"), b"CONSUMER", {"reset": "c", "after": "end"}),
        (consumers.parked("c"), b"CONSUMER", {"parked": "c"}),
        (consumers.parked("c", after=EVENT.id, limit=2), b"CONSUMER", {"parked": "c", "after": EVENT.id, "limit": 2}),
        (consumers.replay("c"), b"CONSUMER", {"replay": "c"}),
        (consumers.replay("c", []), b"CONSUMER", {"replay": "c", "ids": []}),
        (
            consumers.fetch("c", "m", 2, 1500),
            b"FETCH",
            {"consumer": "c", "member": "m", "limit": 2, "wait_ms": 1500},
        ),
        (consumers.ack("c", "m", [EVENT.id]), b"ACK", {"consumer": "c", "member": "m", "ids": [EVENT.id]}),
        (consumers.extend("c", "m", [EVENT.id]), b"ACK", {"consumer": "c", "member": "m", "extend": [EVENT.id]}),
        (consumers.nack("c", "m", [EVENT.id]), b"NACK", {"consumer": "c", "member": "m", "ids": [EVENT.id]}),
        (
            consumers.nack("c", "m", [EVENT.id], delay_ms=0, reason="no"),
            b"NACK",
            {"consumer": "c", "member": "m", "ids": [EVENT.id], "delay_ms": 0, "reason": "no"},
        ),
        (
            consumers.nack("c", "m", [EVENT.id], park=True),
            b"NACK",
            {"consumer": "c", "member": "m", "ids": [EVENT.id], "park": True},
        ),
        (consumers.release("c", "m"), b"NACK", {"consumer": "c", "member": "m", "release": True}),
        (
            consumers.release("c", "m", [EVENT.id]),
            b"NACK",
            {"consumer": "c", "member": "m", "ids": [EVENT.id], "release": True},
        ),
        (
            exchanges.add(STREAM, 0, [], request_id=None, checkpoint=CHECKPOINT),
            b"ADD",
            {
                "stream": STREAM,
                "version": 0,
                "events": [],
                "checkpoint": {"consumer": "c", "member": "m", "id": EVENT.id},
            },
        ),
        (
            exchanges.add_many([StreamAppend(STREAM, 0)], request_id=None, checkpoint=CHECKPOINT),
            b"ADDMANY",
            {
                "appends": [{"stream": STREAM, "version": 0, "events": []}],
                "checkpoint": {"consumer": "c", "member": "m", "id": EVENT.id},
            },
        ),
    ],
)
def test_a_command_is_sent_as_a_word_and_what_was_given(
    exchange: Exchange[object], command: bytes, argument: dict[str, Any]
) -> None:
    assert (exchange.words[0], json.loads(exchange.words[1])) == (command, argument)


def test_consumers_are_listed_by_a_word() -> None:
    assert consumers.status_of_all().words == (b"CONSUMER", b"LIST")


@pytest.mark.parametrize(
    ("exchange", "reply", "value"),
    [
        (consumers.create("c", {}), SUMMARY_JSON, SUMMARY),
        (consumers.reset("c"), SUMMARY_JSON[:-1] + b',"later":1}', SUMMARY),
        (consumers.status_of_all(), [STATUS_JSON.decode()], [STATUS]),
        (consumers.delete("c"), 1, None),
        (consumers.parked("c"), [PARKED_JSON], [PARKED]),
        (consumers.replay("c"), 2, 2),
        (consumers.fetch("c", "m", 1, 1), [EVENT_JSON], [EVENT]),
        (consumers.ack("c", "m", []), 0, 0),
        (consumers.release("c", "m"), 3, 3),
    ],
)
def test_a_reply_is_read_into_typed_values(exchange: Exchange[object], reply: object, value: object) -> None:
    assert exchange.decode(reply) == value


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (consumers.create("c", {}), b'{"consumer":"c"}'),
        (consumers.delete("c"), b"OK"),
        (consumers.status_of_all(), [SUMMARY_JSON]),
        (consumers.parked("c"), [EVENT_JSON]),
        (consumers.ack("c", "m", []), None),
    ],
)
def test_another_reply_is_refused(exchange: Exchange[object], reply: object) -> None:
    with pytest.raises(UnexpectedReply):
        exchange.decode(reply)


def test_what_a_second_time_would_undo_is_not_repeated() -> None:
    assert [exchange.is_repeatable for exchange in (consumers.delete("c"), consumers.reset("c"))] == [False, False]
    assert consumers.create("c", {}).is_repeatable
    assert consumers.ack("c", "m", []).is_repeatable


@pytest.mark.parametrize(
    "make",
    [
        lambda: consumers.create("c", {"typs": ["A"]}),  # type: ignore[typeddict-unknown-key]
        lambda: consumers.create("c", {"delete": "d"}),  # type: ignore[typeddict-unknown-key]
        lambda: consumers.nack("c", "m", [], delay=1),  # type: ignore[call-arg]
        lambda: membership(page=7),
    ],
)
def test_an_option_that_does_not_exist_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


# A member.


def membership(*, is_patient: bool = True, **options: Any) -> Membership:
    """A member m of a consumer c, unless another name is given."""
    return Membership("c", is_patient=is_patient, **{"member": "m", **options})


def fetch(membership: Membership, *numbers: int) -> str:
    """A request that is answered with these events; the name it was made under."""
    with membership.fetching() as request:
        asked = json.loads(request.words[1])
        request.decode([event_json(number) for number in numbers])
    name: str = asked["member"]
    return name


def fail(membership: Membership, error: BaseException) -> None:
    """A request that ends with this."""
    with pytest.raises(type(error)), membership.fetching():
        raise error


def said(membership: Membership, fetched: Fetched) -> list[tuple[str, list[str]]]:
    """By whom the events are acked, and which."""
    arguments = [json.loads(exchange.words[1]) for exchange in membership.answers(consumers.ack, fetched)]
    return [(argument["member"], argument["ids"]) for argument in arguments]


def id_of(number: int) -> str:
    event_id: str = json.loads(event_json(number))["id"]
    return event_id


def test_a_member_has_a_name_of_its_own_where_none_is_given() -> None:
    names = {membership(member=None).name for _ in range(2)}
    assert len(names) == 2
    assert all(re.fullmatch("[A-Za-z0-9._:-]{1,64}", name) for name in names)


@pytest.mark.parametrize("member", ["m", "m" * CONSUMER_NAME_BYTES_MAX])
@pytest.mark.parametrize(
    "error", [LOST, UnexpectedReply("no RESP"), KeyboardInterrupt(), GeneratorExit()], ids=lambda e: type(e).__name__
)
def test_where_an_answer_may_be_lost_it_takes_another_name(member: str, error: BaseException) -> None:
    made = membership(member=member)
    assert fetch(made, 1, 2) == member
    fail(made, error)
    other = made.name
    assert re.fullmatch("m+:[0-9A-Z]{26}", other)
    assert len(other) <= CONSUMER_NAME_BYTES_MAX
    assert fetch(made, 3) == other
    assert said(made, [id_of(1), id_of(3), id_of(2)]) == [(member, [id_of(1), id_of(2)]), (other, [id_of(3)])]
    fail(made, error)
    assert made.name not in {member, other}
    assert len(made.name) <= CONSUMER_NAME_BYTES_MAX


@pytest.mark.parametrize(
    "error",
    [NotConnected.because("refused"), ClientClosed.because("closed"), TryAgain("overloaded"), NoSuchConsumer("none")],
    ids=lambda e: type(e).__name__,
)
def test_where_nothing_was_given_out_it_keeps_its_name(error: EventflowError) -> None:
    made = membership()
    fail(made, error)
    assert made.name == "m"


def test_a_page_with_an_error_in_it_was_given_out_and_costs_the_name() -> None:
    made = membership()
    with pytest.raises(CorruptRecord), made.fetching() as request:
        request.decode([EVENT_JSON, CorruptRecord("a flipped bit")])
    assert made.name != "m"


def test_events_are_answered_for_one_by_one_in_lists_and_by_id() -> None:
    made = membership()
    fetch(made, 1, 2)
    assert said(made, EVENT) == said(made, EVENT.id) == said(made, iter([EVENT])) == [("m", [EVENT.id])]
    assert said(made, (EVENT, id_of(2))) == [("m", [EVENT.id, id_of(2)])]
    assert said(made, []) == []


def test_a_checkpoint_names_the_member_that_got_the_event() -> None:
    made = membership()
    fetch(made, 1)
    fail(made, LOST)
    assert made.checkpoint(EVENT) == CHECKPOINT
    fetch(made, 1)
    assert made.checkpoint(EVENT) == Checkpoint("c", made.name, EVENT.id)


def test_it_remembers_no_more_events_than_can_be_held() -> None:
    made = membership()
    fetch(made, 1)
    fail(made, LOST)
    fetch(made, *range(2, WINDOW_EVENTS_MAX + 1))
    assert said(made, id_of(1)) == [("m", [id_of(1)])]
    fetch(made, WINDOW_EVENTS_MAX + 1)
    assert said(made, id_of(1)) == [(made.name, [id_of(1)])]


def test_it_gives_back_what_it_may_hold_under_any_name() -> None:
    made = membership()
    assert list(made.releases_of_all()) == []
    names = ["m"]
    for _ in range(FORMER_NAMES_MAX + 1):
        fail(made, LOST)
        names.append(made.name)
    arguments = [json.loads(exchange.words[1]) for exchange in made.releases_of_all()]
    assert arguments == [{"consumer": "c", "member": name, "release": True} for name in names[:0:-1]]


@pytest.mark.parametrize("error", [LOST, TryAgain("overloaded")])
def test_who_was_there_once_is_waited_for(error: EventflowError) -> None:
    made = membership(is_patient=False)
    with pytest.raises(NotConnected):
        made.pause_after(NotConnected.because("refused"))
    made.pause_after(error)
    pauses = [made.pause_after(NotConnected.because("refused")) for _ in range(3)]
    assert pauses[2] > pauses[0]
    fetch(made)
    assert made.pause_after(error) <= pauses[2]
    with pytest.raises(NoSuchConsumer):
        made.pause_after(NoSuchConsumer("none"))


@pytest.mark.parametrize("options", [{"limit": 0}, {"wait_ms": 0}, {"wait_ms": -1}])
def test_what_would_ask_without_a_pause_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        membership(**options)
