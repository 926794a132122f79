"""What CONSUMER, FETCH, ACK and NACK take, and why they refuse."""

from typing import Any

import pytest

from eventflowdb.commands.consumers import (
    Ack,
    CreateConsumer,
    DeleteConsumer,
    Fetch,
    ListConsumers,
    ListParked,
    Nack,
    ReplayParked,
    ResetConsumer,
)
from eventflowdb.consumers import BEGINNING, ConsumerOptions
from eventflowdb.queries import Query

from .samples import STREAM, ULID_BYTES, ULID_TEXT, decoded, refusal, stream_refusal, ulid_refusal

MEMBER = '"consumer":"c","member":"m"'
IDS = f'"ids":["{ULID_TEXT}"]'
DEFAULTS = ConsumerOptions(timeout_ms=30_000, retry_ms=1000, tries_max=10)


def name_refusal(path: str, shown: str) -> str:
    """What is said of a name that is none."""
    return f"{path}: expected a name of 1 to 64 letters, digits and ._:- such as send-mail or worker-7, got {shown}"


TAKEN: list[tuple[str, str, Any]] = [
    ("CONSUMER", "LIST", ListConsumers()),
    ("CONSUMER", " list ", ListConsumers()),
    ("CONSUMER", '{"create":"c"}', CreateConsumer("c", Query(), DEFAULTS, BEGINNING)),
    ("CONSUMER", '{"create":"c","query":null,"after":null}', CreateConsumer("c", Query(), DEFAULTS, BEGINNING)),
    ("CONSUMER", '{"create":"A.b_:-9","after":"end"}', CreateConsumer("A.b_:-9", Query(), DEFAULTS, None)),
    ("CONSUMER", f'{{"create":"c","after":"{ULID_TEXT}"}}', CreateConsumer("c", Query(), DEFAULTS, ULID_BYTES)),
    (
        "CONSUMER",
        f'{{"create":"c","query":{{"stream":"{STREAM.upper()}","types":["a"],"tags":["t"],'
        f'"correlation_id":"{ULID_TEXT}","causation_id":"{ULID_TEXT}"}},"timeout_ms":1,"retry_ms":0,"tries_max":0}}',
        CreateConsumer(
            "c",
            Query(STREAM, types=("a",), tags=("t",), correlation_id=ULID_TEXT, causation_id=ULID_TEXT),
            ConsumerOptions(timeout_ms=1, retry_ms=0, tries_max=0),
            BEGINNING,
        ),
    ),
    ("CONSUMER", '{"delete":"c"}', DeleteConsumer("c")),
    ("CONSUMER", '{"reset":"c"}', ResetConsumer("c", BEGINNING)),
    ("CONSUMER", '{"reset":"c","after":"end"}', ResetConsumer("c", None)),
    ("CONSUMER", '{"parked":"c"}', ListParked("c", BEGINNING, 100)),
    ("CONSUMER", f'{{"parked":"c","after":"{ULID_TEXT}","limit":7}}', ListParked("c", ULID_BYTES, 7)),
    ("CONSUMER", '{"replay":"c"}', ReplayParked("c", None)),
    ("CONSUMER", f'{{"replay":"c",{IDS}}}', ReplayParked("c", (ULID_BYTES,))),
    ("FETCH", f"{{{MEMBER}}}", Fetch("c", "m", 100, 0)),
    ("FETCH", f'{{{MEMBER},"limit":0,"wait_ms":null}}', Fetch("c", "m", 100, 0)),
    ("FETCH", f'{{{MEMBER},"limit":1000,"wait_ms":5}}', Fetch("c", "m", 1000, 5)),
    ("ACK", f"{{{MEMBER},{IDS}}}", Ack("c", "m", (ULID_BYTES,), ())),
    ("ACK", f'{{{MEMBER},"ids":["{ULID_TEXT}","{ULID_TEXT.lower()}"]}}', Ack("c", "m", (ULID_BYTES,), ())),
    ("ACK", f'{{{MEMBER},"extend":["{ULID_TEXT}"]}}', Ack("c", "m", (), (ULID_BYTES,))),
    ("NACK", f"{{{MEMBER},{IDS}}}", Nack("c", "m", (ULID_BYTES,), None, "", False, False)),
    (
        "NACK",
        f'{{{MEMBER},{IDS},"delay_ms":0,"reason":"no answer"}}',
        Nack("c", "m", (ULID_BYTES,), 0, "no answer", False, False),
    ),
    ("NACK", f'{{{MEMBER},{IDS},"park":true,"reason":"r"}}', Nack("c", "m", (ULID_BYTES,), None, "r", True, False)),
    ("NACK", f'{{{MEMBER},"release":true}}', Nack("c", "m", None, None, "", False, True)),
    ("NACK", f'{{{MEMBER},{IDS},"release":true}}', Nack("c", "m", (ULID_BYTES,), None, "", False, True)),
]
ONE_OF = "expected one of create, delete, reset, parked, replay, each with the name of a consumer, or LIST; got "
REFUSED: list[tuple[str, str, str]] = [
    ("CONSUMER", "LISTS", "expected LIST or a JSON object, got LISTS"),
    ("CONSUMER", "{}", f"{ONE_OF}0 of them"),
    ("CONSUMER", '{"create":"c","delete":"c"}', f"{ONE_OF}2 of them"),
    ("CONSUMER", '{"create":""}', name_refusal("create", "''")),
    ("CONSUMER", '{"delete":"a b"}', name_refusal("delete", "'a b'")),
    ("CONSUMER", '{"reset":"é"}', name_refusal("reset", "'é'")),
    ("CONSUMER", '{"create":1}', "create: expected a string or null, got an integer"),
    ("CONSUMER", '{"delete":"c","query":{}}', "query: does not go with delete"),
    ("CONSUMER", '{"reset":"c","timeout_ms":1}', "timeout_ms: does not go with reset"),
    ("CONSUMER", '{"create":"c","limit":1}', "limit: does not go with create"),
    ("CONSUMER", f'{{"parked":"c",{IDS}}}', "ids: does not go with parked"),
    ("CONSUMER", '{"replay":"c","after":"end"}', "after: does not go with replay"),
    ("CONSUMER", '{"create":"c","query":{"stream":"x"}}', stream_refusal("'x'", "query.stream")),
    (
        "CONSUMER",
        '{"create":"c","after":"start"}',
        'after: expected the ULID of an event, "beginning" or "end", got \'start\'',
    ),
    ("CONSUMER", '{"parked":"c","after":"end"}', ulid_refusal("after", "'end'")),
    ("CONSUMER", '{"parked":"c","limit":1001}', "limit: expected at most 1000, got 1001; page with after"),
    ("CONSUMER", '{"create":"c","timeout_ms":0}', "timeout_ms: expected 1 to 86400000, got 0"),
    ("CONSUMER", '{"create":"c","retry_ms":86400001}', "retry_ms: expected 0 to 86400000, got 86400001"),
    ("CONSUMER", '{"create":"c","tries_max":1000001}', "tries_max: expected 0 to 1000000, got 1000001"),
    ("CONSUMER", '{"replay":"c","ids":["x"]}', ulid_refusal("ids[0]", "'x'")),
    ("CONSUMER", '{"create":"c","create":"d"}', "create: the field is given more than once"),
    ("FETCH", '{"member":"m"}', "consumer: is required"),
    ("FETCH", '{"consumer":"c"}', "member: is required"),
    ("FETCH", '{"consumer":"c","member":"a/b"}', name_refusal("member", "'a/b'")),
    ("FETCH", f'{{{MEMBER},"limit":1001}}', "limit: expected at most 1000, got 1001; FETCH again for more"),
    ("FETCH", f'{{{MEMBER},"limt":1}}', "limt: unknown field; known are consumer, member, limit, wait_ms"),
    ("ACK", f"{{{MEMBER}}}", "expected ids, the events that are done, or extend, those that are still worked at"),
    ("ACK", f'{{{MEMBER},"ids":"x"}}', "ids: expected an array or null, got a string"),
    ("ACK", f'{{{MEMBER},"ids":["{ULID_TEXT}","x"]}}', ulid_refusal("ids[1]", "'x'")),
    ("ACK", f'{{{MEMBER},"extend":["x"]}}', ulid_refusal("extend[0]", "'x'")),
    ("NACK", f"{{{MEMBER}}}", "ids: expected the events that failed; only with release they may be left out"),
    (
        "NACK",
        f'{{{MEMBER},{IDS},"release":true,"reason":"r"}}',
        "release: gives events back as if they had not been given out; nothing else goes with it",
    ),
    (
        "NACK",
        f'{{{MEMBER},{IDS},"park":true,"delay_ms":1}}',
        "delay_ms: does not go with park; what is parked is not tried again by itself",
    ),
    ("NACK", f'{{{MEMBER},{IDS},"delay_ms":86400001}}', "delay_ms: expected 0 to 86400000, got 86400001"),
    ("NACK", f'{{{MEMBER},{IDS},"reason":"{"r" * 1025}"}}', "reason: expected 1 to 1024 bytes, got 1025"),
]


@pytest.mark.parametrize(("command", "text", "value"), TAKEN)
def test_an_argument_means(command: str, text: str, value: Any) -> None:
    assert decoded(command, text) == value


@pytest.mark.parametrize(("command", "text", "sentence"), REFUSED)
def test_a_wrong_argument_is_refused(command: str, text: str, sentence: str) -> None:
    assert refusal(command, text) == sentence


def test_a_query_may_be_so_long_and_no_longer() -> None:
    names = ",".join([f'"{number:064}"' for number in range(16)])
    text = refusal("CONSUMER", f'{{"create":"c","query":{{"types":[{names}]}}}}')
    assert text.startswith("query: expected at most 1000 bytes as JSON, got 1")


@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_so_many_events_may_be_named_at_once_and_no_more(command: str) -> None:
    ids = ",".join([f'"{ULID_TEXT}"'] * 10_000)
    assert decoded(command, f'{{{MEMBER},"ids":[{ids}]}}').ids == (ULID_BYTES,)
    assert refusal(command, f'{{{MEMBER},"ids":[{ids},"x"]}}') == "ids: expected at most 10000 ids, got 10001"
