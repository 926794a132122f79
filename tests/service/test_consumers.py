"""What consumers promise, step by step: who is given what, acks and the checkpoint, reset and delete, bounds."""

import json

import pytest

from eventflowdb import limits
from eventflowdb.service import groups

from .fakes import read_replies
from .members import LONG, NAME, STREAMS, TIMEOUT_MS, Members, add_many, code_of

# Giving out.


def test_one_member_gets_the_events_in_the_order_of_the_log(members: Members) -> None:
    members.have("a1", "b1", "a2", "c1", "b2")
    assert members.fetch("m", 3) == ["a1", "b1", "a2"]
    assert members.fetch("m") == ["c1", "b2"]
    assert members.fetch("m") == []


def test_what_is_given_out_is_the_event_as_it_is_stored(members: Members) -> None:
    members.have("a1")
    members.send("m", "FETCH", members.fetching("m"))
    members.run()
    ((record,),) = read_replies(members.connection("m").take())
    members.send("m", "GETALL")
    members.run()
    assert read_replies(members.connection("m").take()) == [[record]]


def test_a_stream_is_with_one_member_at_a_time_and_in_order(members: Members) -> None:
    members.have("a1", "b1", "a2", "b2", "a3")
    assert members.fetch("m", 1) == ["a1"]
    assert members.fetch("n") == ["b1", "b2"]
    assert members.fetch("o") == []
    assert members.fetch("m", 1) == ["a2"]
    assert members.ack("m", "a1") == 1
    assert members.fetch("o") == [], "m holds a2 still"
    assert members.ack("m", "a2") == 1
    assert members.fetch("o") == ["a3"]


def test_without_a_limit_a_hundred_come(members: Members) -> None:
    members.have(*[f"a{number}" for number in range(101)])
    assert len(members.fetch("m")) == 100
    assert members.fetch("m") == ["a100"]


def test_a_reply_is_bounded_by_its_bytes(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    members.have("a1", "a2", "a3")
    monkeypatch.setattr(groups, "FETCH_BYTES_MAX", 1)
    assert members.fetch("m") == ["a1"]
    assert members.fetch("m") == ["a2"]


def test_only_events_of_the_query_are_given_out(members: Members) -> None:
    members.ask("w", "ADD", stream=STREAMS["a"], version="any", events=[{"type": "other", "data": "a0"}])
    members.have("a1")
    assert members.fetch("m") == ["a1"]
    members.ack("m", "a1")
    assert members.checkpoint() == "a1"


def test_a_consumer_of_one_stream_gets_that_alone(members: Members) -> None:
    members.ask("admin", "CONSUMER", create="one", query={"stream": STREAMS["b"]})
    members.have("a1", "b1", "a2", "b2")
    assert members.fetch("m", consumer="one") == ["b1", "b2"]
    members.ask("m", "ACK", consumer="one", member="m", ids=members.ids_of(["b1", "b2"]))
    members.send("m", "FETCH", json.dumps({"consumer": "one", "member": "m", "wait_ms": LONG}))
    members.run()
    members.have("a3")
    assert members.told("m") == []
    members.have("b3")
    assert members.told("m") == [["b3"]]


def test_a_consumer_may_begin_at_the_end_or_after_an_event(members: Members) -> None:
    members.have("a1", "a2", "a3")
    members.ask("admin", "CONSUMER", create="late", after="end")
    members.ask("admin", "CONSUMER", create="middle", after=members.ids["a1"])
    assert members.fetch("m", consumer="late") == []
    assert members.fetch("m", consumer="middle") == ["a2", "a3"]
    members.have("a4")
    assert members.fetch("m", consumer="late") == ["a4"]


def test_consumers_do_not_know_of_each_other(members: Members) -> None:
    members.have("a1")
    members.ask("admin", "CONSUMER", create="other")
    assert members.fetch("m") == members.fetch("m", consumer="other") == ["a1"]
    members.ack("m", "a1")
    assert members.fetch("m", consumer="other") == []
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("m") == []
    assert members.fetch("m", consumer="other") == ["a1"]


def test_of_a_consumer_that_is_not_there_everything_is_refused(members: Members) -> None:
    about = {"consumer": "none", "member": "m"}
    ids = ["01M851XQ5N6D2F8H0J2K4M6P8R"]
    assert code_of(members.ask("m", "FETCH", **about, wait_ms=LONG)) == "NOCONSUMER"
    assert code_of(members.ask("m", "ACK", **about, ids=ids)) == "NOCONSUMER"
    assert code_of(members.ask("m", "NACK", **about, ids=ids)) == "NOCONSUMER"
    for what in ("delete", "reset", "parked", "replay"):
        assert code_of(members.ask("m", "CONSUMER", **{what: "none"})) == "NOCONSUMER"


# Acks and the checkpoint.


def test_the_checkpoint_is_the_highest_event_with_nothing_unacked_before_it(members: Members) -> None:
    members.have("a1", "b1", "a2", "b2")
    members.fetch("m")
    assert members.checkpoint() is None
    assert members.ack("m", "b1", "b2") == 2
    assert members.checkpoint() is None
    assert members.ack("m", "a1") == 1
    assert members.checkpoint() == "b1"
    assert members.ack("m", "a2") == 1
    assert members.checkpoint() == "b2"


def test_an_event_is_acked_once(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    assert members.ack("m", "a1", "a1") == 1
    assert members.ack("m", "a1") == 0
    assert members.ack("m", "a1", "a2") == 1
    members.send("m", "ACK", members.acking("m", "a1", "a2"))
    members.send("m", "ACK", members.acking("m", "a2"))
    members.run()
    assert members.told("m") == [0, 0]


def test_acks_in_one_pipeline_count_once(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    for names in (["a1"], ["a1", "a2"], ["a2"]):
        members.send("m", "ACK", members.acking("m", *names))
    members.run()
    assert members.told("m") == [1, 1, 0]
    assert members.fetch("n") == []


def test_an_ack_is_answered_when_it_is_stored_and_not_before(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "ACK", members.acking("m", "a1", "a2"))
    assert members.told("m") == []
    members.run()
    assert members.told("m") == [2]
    members.restart()
    assert members.fetch("m") == []


def test_an_event_that_another_member_holds_cannot_be_acked(members: Members) -> None:
    members.have("a1", "b1")
    assert members.fetch("m", 1) == ["a1"]
    assert members.fetch("n", 1) == ["b1"]
    refused = members.ack("m", "a1", "b1")
    assert code_of(refused) == "CONCURRENCY"
    assert f"consumer={NAME} event={members.ids['b1']}" in refused.text
    assert members.checkpoint() is None, "nothing of it was done"
    assert members.ack("n", "b1") == 1


def test_what_is_no_event_of_the_consumer_cannot_be_acked(members: Members) -> None:
    members.have("a1")
    (record,) = members.server.hold(STREAMS["b"], 1)
    other = json.loads(record)["id"]
    for event_id in (other, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"):
        about = {"consumer": NAME, "member": "m", "ids": [members.ids["a1"], event_id]}
        assert code_of(members.ask("m", "ACK", **about)) == "INVALIDARG"
    assert members.fetch("m") == ["a1"]


def test_an_ack_of_nothing_changes_nothing(members: Members) -> None:
    assert members.ack("m") == 0


# Reset and delete.


def test_a_reset_begins_anew(members: Members) -> None:
    members.have("a1", "a2", "b1")
    members.fetch("m")
    members.ack("m", "a1")
    members.nack("m", "b1", park=True)
    shown = json.loads(members.ask("admin", "CONSUMER", reset=NAME, after=members.ids["a1"]))
    assert shown["checkpoint"] == members.ids["a1"]
    assert members.parked() == []
    assert members.fetch("n") == ["a2", "b1"]
    members.ask("admin", "CONSUMER", reset=NAME)
    assert members.fetch("n") == ["a1", "a2", "b1"]
    members.ask("admin", "CONSUMER", reset=NAME, after="end")
    assert members.fetch("n") == []
    assert members.checkpoint() == "b1"


def test_after_a_reset_nobody_holds_anything(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.ask("admin", "CONSUMER", reset=NAME)
    assert code_of(members.add("m", "a1", "r")) == "CONCURRENCY"
    assert members.fetch("n") == ["a1"]
    assert code_of(members.ack("m", "a1")) == "CONCURRENCY"
    members.pass_ms(TIMEOUT_MS - 1)
    assert members.parked() == []
    assert members.ack("n", "a1") == 1


def test_an_ack_that_came_before_a_reset_does_not_outlast_it(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "ACK", members.acking("m", "a1"))
    members.send("m", "NACK", members.nacking("m", "a2", park=True))
    members.send("w", "CONSUMER", json.dumps({"reset": NAME}))
    members.run()
    assert members.told("m") == [1, 1]
    assert members.fetch("n") == ["a1", "a2"]
    assert members.parked() == []


def test_those_who_wait_are_told_of_a_reset_and_may_ask_on_at_once(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.ack("m", "a1")
    for _ in range(2):
        members.send("n", "FETCH", members.fetching("n", wait_ms=LONG))
    members.run()
    members.begin_fetch("m")
    members.ask("admin", "CONSUMER", reset=NAME)
    assert members.told("m") == [[]]
    assert members.told("n") == [[], ["a1"]]


def test_those_who_wait_are_told_that_their_consumer_is_gone(members: Members) -> None:
    for _ in range(2):
        members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    members.run()
    assert members.ask("admin", "CONSUMER", delete=NAME) == 1
    assert [code_of(reply) for reply in members.told("m")] == ["NOCONSUMER"] * 2
    assert code_of(members.fetch("m")) == "NOCONSUMER"
    assert members.server.clock.getDelayedCalls() == []


def test_a_consumer_that_was_made_again_knows_nothing_of_the_one_before(members: Members) -> None:
    members.have("a1", "b1", "c1")
    members.fetch("m")
    members.ack("m", "a1")
    members.nack("m", "b1", park=True)
    members.nack("m", "c1", delay_ms=5000)
    members.ask("admin", "CONSUMER", delete=NAME)
    assert code_of(members.ack("m", "b1")) == "NOCONSUMER"
    members.make()
    assert members.fetch("m") == ["a1", "b1", "c1"]
    assert members.parked() == []


def test_making_a_consumer_once_more_changes_nothing(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.ack("m", "a1")
    assert members.make(after="end")["checkpoint"] == members.ids["a1"]
    assert members.listed()["in_flight"] == 1
    refused = members.ask("admin", "CONSUMER", create=NAME, query={"types": ["t"]}, tries_max=3)
    assert code_of(refused) == "INVALIDARG"


def test_a_fetch_that_comes_while_its_consumer_is_reset_is_served_from_the_new_place(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.ack("m", "a1")
    members.send("admin", "CONSUMER", json.dumps({"reset": NAME}))
    members.send("m", "FETCH", members.fetching("m"))
    members.run()
    assert members.told("m") == [["a1"]]


# A full disk.


def test_on_a_full_disk_acks_are_refused_and_the_member_keeps_its_events(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.on_a_full_disk()
    assert code_of(members.ack("m", "a1")) == "OOM"
    assert code_of(members.nack("m", "a2")) == "OOM"
    assert members.fetch("n") == []
    members.on_a_full_disk(False)
    assert members.ack("m", "a1", "a2") == 2
    assert members.checkpoint() == "a2"


def test_what_times_out_on_a_full_disk_comes_again_when_there_is_room(members: Members) -> None:
    members.have("a1", "b1")
    members.fetch("m")
    members.on_a_full_disk()
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("n") == ["b1"], "that a1 failed could not be stored"
    members.on_a_full_disk(False)
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("o", 1) == ["a1"]


# Bounds.


def test_no_more_than_a_window_of_events_is_given_out(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventflowdb.service.window.WINDOW_EVENTS_MAX", 10)
    monkeypatch.setattr(groups, "FILL_EVENTS", 4)
    names = [f"{stream}{number}" for number in range(10) for stream in "ab"]
    members.have(*names)
    given = members.fetch("m")
    assert 10 <= len(given) < 10 + 4
    assert members.fetch("m") == []
    members.begin_fetch("n")
    members.ack("m", *given)
    assert members.told("n") == [names[len(given) : len(given) + len(members.ids)][: members.listed()["in_flight"]]]
    assert members.checkpoint() == given[-1]


def test_behind_one_stuck_event_a_bounded_number_is_given_out(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventflowdb.service.window.WINDOW_DONE_MAX", 20)
    monkeypatch.setattr(groups, "FILL_EVENTS", 5)
    members.have("a1", *[f"b{number}" for number in range(60)])
    assert members.fetch("stuck", 1) == ["a1"]
    done = 0
    while given := members.fetch("m", 10):
        assert members.ack("m", *given) == len(given)
        done += len(given)
    assert 20 <= done + 1 <= 25
    members.restart()
    assert members.fetch("stuck", 1) == ["a1"]
    assert members.fetch("m") == [], "so it is after a restart"
    members.begin_fetch("n", 10)
    assert members.ack("stuck", "a1") == 1
    assert members.told("n") == [[f"b{number}" for number in range(done, done + 10)]]


def test_a_window_of_ten_thousand_events_and_no_more(members: Members) -> None:
    """As it is; the other tests make it small."""
    records = add_many(members, "a", 6000) + add_many(members, "b", 6000)
    assert len(records) == 12_000
    given = []
    while page := members.fetch("m", 1000):
        given += page
    assert 10_000 <= len(given) < 10_000 + limits.FILL_EVENTS
    assert given == records[: len(given)]
    assert members.fetch("n") == []
    for start in range(0, len(given), 5000):
        members.ack("m", *given[start : start + 5000])
    assert members.checkpoint() == given[-1]
    assert members.fetch("m", 1000)[0] == records[len(given)]
