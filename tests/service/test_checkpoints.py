"""Read, process, append: an append that acks an event is stored once for each event, whoever comes when."""

import json

import pytest

from .members import NAME, RESULTS, TIMEOUT_MS, Members, adding, code_of


def test_an_append_acks_the_event_that_it_names(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    assert members.add("m", "a1", "r1") == ["r1"]
    assert members.results() == ["r1"]
    assert members.checkpoint() == "a1"
    assert members.ack("m", "a1") == 0
    assert members.release("m") == 1


def test_it_frees_the_stream_for_a_member_that_waits(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m", 1)
    members.begin_fetch("n")
    assert members.told("n") == []
    members.add("m", "a1", "r1")
    assert members.told("n") == [["a2"]]


def test_an_append_to_several_streams_may_ack_too(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    appends = [json.loads(adding("c1", type="other")), json.loads(adding("d1", type="other"))]
    checkpoint = {"consumer": NAME, "member": "m", "id": members.ids["a1"]}
    assert members.ask("m", "ADDMANY", appends=appends, checkpoint=checkpoint) == ["c1", "d1"]
    assert members.checkpoint() == "a1"
    assert code_of(members.ask("m", "ADDMANY", appends=appends, checkpoint=checkpoint)) == "CONCURRENCY"


def test_an_append_of_no_events_acks_too(members: Members) -> None:
    """A stream is only checked: the event is handled, and nothing came of it."""
    members.have("a1")
    members.fetch("m")
    appends = [{"stream": RESULTS, "version": 0, "events": []}]
    checkpoint = {"consumer": NAME, "member": "m", "id": members.ids["a1"]}
    assert members.ask("m", "ADDMANY", appends=appends, checkpoint=checkpoint) == []
    assert members.checkpoint() == "a1"
    assert code_of(members.ask("m", "ADDMANY", appends=appends, checkpoint=checkpoint)) == "CONCURRENCY"


def refusal_text(members: Members, member: str, name: str) -> str:
    """Why an append is refused that acks an event, which it has to be; nothing is stored of it."""
    before = members.results()
    refused = members.add(member, name, "refused")
    assert code_of(refused) == "CONCURRENCY"
    assert members.results() == before
    assert refused.text.startswith(f"consumer={NAME} event={members.ids[name]}: ")
    return str(refused.text)


def test_a_member_that_does_not_hold_the_event_cannot_append(members: Members) -> None:
    members.have("a1", "b1")
    refusal_text(members, "m", "a1")
    members.fetch("m", 1)
    refusal_text(members, "n", "a1")
    refusal_text(members, "m", "b1")
    assert members.add("m", "a1", "r1") == ["r1"]
    refusal_text(members, "m", "a1")


def test_of_a_consumer_that_is_not_there_an_append_is_refused(members: Members) -> None:
    members.have("a1")
    members.ask("admin", "CONSUMER", delete=NAME)
    assert code_of(members.add("m", "a1", "r1")) == "NOCONSUMER"
    assert members.results() == []


def test_a_member_that_timed_out_cannot_append_and_the_one_after_it_can(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.pass_ms(TIMEOUT_MS)
    refusal_text(members, "m", "a1")
    assert members.fetch("n") == ["a1"]
    refusal_text(members, "m", "a1")
    assert members.add("n", "a1", "r1") == ["r1"]
    assert members.results() == ["r1"]


def test_an_append_that_came_in_time_is_stored_though_the_time_ends_before_it_is(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.server.clock.advance((TIMEOUT_MS - 1) / 1000)
    members.send("m", "ADD", members.adding("m", "a1", "r1"))
    members.send("n", "FETCH", members.fetching("n"))
    members.server.clock.advance(TIMEOUT_MS * 3 / 1000)
    members.server.read()
    assert members.told("n") == [[]], "m holds it until the append is stored"
    members.run()
    assert members.told("m") == [["r1"]]
    assert members.fetch("n") == []


def test_a_member_whom_the_server_has_forgotten_cannot_append(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.restart()
    refusal_text(members, "m", "a1")
    assert members.fetch("m") == ["a1"]
    assert members.add("m", "a1", "r1") == ["r1"]


def test_what_failed_or_was_given_back_cannot_be_acked_by_an_append(members: Members) -> None:
    members.have("a1", "b1", "c1")
    members.fetch("m")
    members.nack("m", "a1")
    members.nack("m", "b1", park=True)
    members.nack("m", "c1", release=True)
    for name in ("a1", "b1", "c1"):
        refusal_text(members, "m", name)


def test_of_two_appends_in_one_pipeline_one_acks(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    for result in ("r1", "r2"):
        members.send("m", "ADD", members.adding("m", "a1", result))
    members.run()
    stored, refused = members.told("m")
    assert (stored, code_of(refused)) == (["r1"], "CONCURRENCY")
    assert members.results() == ["r1"]


@pytest.mark.parametrize("is_acked_first", [False, True])
def test_of_an_append_and_an_ack_in_one_pipeline_the_first_one_acks(members: Members, is_acked_first: bool) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    asked = [("ADD", members.adding("m", "a1", "r1")), ("ACK", members.acking("m", "a1"))]
    for words in reversed(asked) if is_acked_first else asked:
        members.send("m", *words)
    members.run()
    replies = members.told("m")
    if is_acked_first:
        assert (replies[0], code_of(replies[1])) == (1, "CONCURRENCY")
    else:
        assert replies == [["r1"], 0]
    assert members.results() == ([] if is_acked_first else ["r1"])
    assert members.checkpoint() == "a1"
    assert members.release("m") == 1


def test_where_an_event_was_parked_in_the_same_pipeline_the_append_is_refused(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "NACK", members.nacking("m", "a1", park=True))
    members.send("m", "ADD", members.adding("m", "a1", "r1"))
    members.run()
    parked, refused = members.told("m")
    assert (parked, code_of(refused)) == (1, "CONCURRENCY")
    assert members.parked_names() == ["a1"]
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("n") == ["a2"], "what is parked is with nobody"


def test_an_append_counts_though_the_event_failed_in_the_same_pipeline(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "NACK", members.nacking("m", "a1"))
    members.send("m", "ADD", members.adding("m", "a1", "r1"))
    members.run()
    assert members.told("m") == [1, ["r1"]]
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("n") == ["a2"]


def test_an_append_that_is_refused_for_its_version_leaves_the_event_with_the_member(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    assert code_of(members.add("m", "a1", "r1", version=7)) == "CONCURRENCY"
    assert members.fetch("n") == []
    assert members.checkpoint() is None
    assert members.add("m", "a1", "r1", version=0) == ["r1"]


def test_on_a_full_disk_an_append_leaves_the_event_with_the_member(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.on_a_full_disk()
    assert code_of(members.add("m", "a1", "r1")) == "OOM"
    members.on_a_full_disk(False)
    assert members.fetch("n") == []
    assert members.add("m", "a1", "r1") == ["r1"]


def test_a_repeated_request_is_answered_what_it_was_answered(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    assert members.add("m", "a1", "r1", request_id="q") == ["r1"]
    assert members.add("m", "a1", "r1", request_id="q") == ["r1"]
    members.restart()
    assert members.add("m", "a1", "r1", request_id="q") == ["r1"]
    assert members.results() == ["r1"]
    assert members.fetch("n") == ["a2"]


def test_a_repeated_request_in_one_pipeline_is_answered_too(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    for _ in range(2):
        members.send("m", "ADD", members.adding("m", "a1", "r1", request_id="q"))
    members.run()
    assert members.told("m") == [["r1"], ["r1"]]
    assert members.results() == ["r1"]
    assert members.release("m") == 0


def test_after_a_reset_a_repeated_request_of_the_member_that_holds_the_event_acks_it(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.add("m", "a1", "r1", request_id="q")
    members.ask("admin", "CONSUMER", reset=NAME)
    assert members.add("m", "a1", "r1", request_id="q") == ["r1"]
    assert members.fetch("m", 1) == ["a1"], "m did not hold it"
    assert members.add("m", "a1", "r1", request_id="q") == ["r1"]
    assert members.results() == ["r1"]
    assert members.fetch("m") == ["a2"]


def test_a_repeated_request_that_is_refused_for_other_content_acks_nothing(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.add("m", "a1", "r1", request_id="q")
    assert code_of(members.add("m", "a2", "r2", request_id="q")) == "CONFLICT"
    assert members.add("m", "a2", "r2") == ["r2"]


def test_after_a_reset_an_append_of_before_counts_for_nothing(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.send("admin", "CONSUMER", json.dumps({"reset": NAME}))
    members.send("m", "ADD", members.adding("m", "a1", "r1"))
    members.run()
    (refused,) = members.told("m")
    assert code_of(refused) == "CONCURRENCY"


def test_an_append_that_came_before_a_reset_is_stored_and_its_event_comes_again(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.send("m", "ADD", members.adding("m", "a1", "r1"))
    members.send("admin", "CONSUMER", json.dumps({"reset": NAME}))
    members.run()
    assert members.told("m") == [["r1"]]
    assert members.fetch("m") == ["a1"]
