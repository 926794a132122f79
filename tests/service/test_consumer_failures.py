"""Events that failed: given out again later, parked, replayed, released."""

import json

import pytest

from .members import NAME, RETRY_MS, Members, code_of


def test_what_failed_comes_again_after_its_delay_and_its_stream_waits(members: Members) -> None:
    members.have("a1", "a2", "b1")
    members.fetch("m")
    assert members.nack("m", "a1", delay_ms=5000, reason="no network") == 1
    assert members.ack("m", "b1") == 1
    assert members.fetch("n") == []
    members.pass_ms(4999)
    assert members.fetch("n") == []
    members.pass_ms(1)
    assert members.fetch("n") == ["a1", "a2"]


def test_without_a_delay_the_consumers_counts(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.nack("m", "a1")
    members.begin_fetch("m")
    members.pass_ms(RETRY_MS - 1)
    assert members.told("m") == []
    members.pass_ms(1)
    assert members.told("m") == [["a1"]]


def test_what_failed_so_often_is_parked_and_its_stream_goes_on(members: Members) -> None:
    members.have("a1", "a2")
    for tries in range(1, 11):
        assert members.fetch("m") == ["a1", "a2"]
        assert members.parked() == []
        assert members.nack("m", "a1", delay_ms=0, reason=f"try {tries}") == 1
    (parked,) = members.parked()
    assert list(parked) == ["id", "tries", "parked_at", "reason", "event"]
    assert (parked["id"], parked["tries"], parked["reason"]) == (members.ids["a1"], 10, "try 10")
    assert parked["event"]["data"] == "a1"
    assert members.checkpoint() == "a1"
    assert members.ack("m", "a2") == 1, "it is with the member still"
    assert members.checkpoint() == "a2"


def test_with_tries_max_0_nothing_is_parked_by_itself(members: Members) -> None:
    members.ask("admin", "CONSUMER", delete=NAME)
    members.make(tries_max=0)
    members.have("a1")
    for _ in range(30):
        assert members.fetch("m") == ["a1"]
        members.nack("m", "a1", delay_ms=0)
    assert members.parked() == []
    members.fetch("m")
    assert members.nack("m", "a1", park=True) == 1
    assert members.parked_names() == ["a1"]


def test_what_is_parked_stays_parked(members: Members) -> None:
    members.have("a1", "b1")
    members.fetch("m")
    members.nack("m", "b1", park=True, reason="does not parse")
    members.release("m")
    assert members.fetch("n") == ["a1"]
    members.restart()
    assert members.fetch("n") == ["a1"]
    assert members.parked_names() == ["b1"]


def test_the_parked_are_listed_in_pages(members: Members) -> None:
    names = [f"a{number}" for number in range(5)]
    members.have(*names)
    members.fetch("m")
    members.nack("m", *names, park=True)
    assert members.parked_names() == names
    first = members.parked(limit=2)
    assert [item["event"]["data"] for item in first] == names[:2]
    second = members.parked(limit=2, after=first[-1]["id"])
    assert [item["event"]["data"] for item in second] == names[2:4]
    assert len(members.parked(after=second[-1]["id"])) == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_replayed_event_comes_before_those_of_its_stream_that_were_not_given_out(
    members: Members, is_restarted: bool
) -> None:
    members.have("a1", "a2", "b1", "a3")
    members.fetch("m", 3)
    members.nack("m", "a1", park=True)
    members.ack("m", "a2", "b1")
    assert members.checkpoint() == "b1"
    if is_restarted:
        members.restart()
    assert members.ask("admin", "CONSUMER", replay=NAME) == 1
    assert members.parked() == []
    assert members.fetch("m") == ["a1", "a3"]
    assert members.ack("m", "a1") == 1
    assert members.checkpoint() == "b1"
    assert members.ask("admin", "CONSUMER", replay=NAME) == 0


def test_replaying_takes_the_events_that_are_named(members: Members) -> None:
    members.have("a1", "b1", "c1", "d1")
    members.fetch("m")
    members.nack("m", "a1", "b1", "c1", park=True)
    ids = members.ids_of(["b1", "d1", "b1"])
    assert members.ask("admin", "CONSUMER", replay=NAME, ids=ids) == 1
    assert members.parked_names() == ["a1", "c1"]
    assert members.fetch("n") == ["b1"]


def test_a_replayed_event_begins_its_tries_anew(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.nack("m", "a1", park=True)
    members.ask("admin", "CONSUMER", replay=NAME)
    for _ in range(9):
        assert members.fetch("m") == ["a1"]
        members.nack("m", "a1", delay_ms=0)
        assert members.parked() == []
    members.fetch("m")
    members.nack("m", "a1", delay_ms=0)
    assert members.parked()[0]["tries"] == 10


def test_a_replay_wakes_a_member_that_waits(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.nack("m", "a1", park=True)
    members.begin_fetch("n")
    members.ask("admin", "CONSUMER", replay=NAME)
    assert members.told("n") == [["a1"]]


def test_replaying_gives_nothing_out_twice(members: Members) -> None:
    members.have("a1", "b1", "c1")
    members.fetch("m")
    members.nack("m", "b1", delay_ms=0)
    assert members.fetch("n") == ["b1"]
    members.nack("m", "c1", park=True)
    members.send("admin", "CONSUMER", json.dumps({"replay": NAME}))
    members.server.commit()
    members.send("o", "FETCH", members.fetching("o"))
    members.send("n", "ACK", members.acking("n", "b1"))
    looking = members.server.pool.reads.popleft()
    found = looking.read()
    members.server.commit()
    looking.done.callback(found)
    members.run()
    assert members.told("n") == [1]
    assert members.told("o") == [["c1"]], "b1 had failed when it was looked for, and was acked when it was found"


def test_a_release_gives_everything_back_uncounted(members: Members) -> None:
    members.ask("admin", "CONSUMER", delete=NAME)
    members.make(tries_max=1)
    members.have("a1", "b1", "a2")
    members.begin_fetch("n")
    assert members.told("n") == [["a1", "b1", "a2"]]
    members.begin_fetch("m")
    assert members.release("n") == 3
    assert members.told("m") == [["a1", "b1", "a2"]]
    assert members.release("n") == 0
    assert members.nack("m", "b1", release=True) == 1
    assert members.fetch("n") == ["b1"]
    assert members.parked() == []


def test_only_what_a_member_holds_fails(members: Members) -> None:
    members.have("a1", "b1")
    assert members.fetch("m", 1) == ["a1"]
    assert members.nack("m", "b1") == 0
    assert members.fetch("n") == ["b1"]
    assert code_of(members.nack("m", "a1", "b1")) == "CONCURRENCY"
    assert code_of(members.nack("m", "b1", release=True)) == "CONCURRENCY"
    members.ack("m", "a1")
    assert members.nack("m", "a1", park=True) == 0
    assert members.parked() == []


def test_where_a_failure_and_an_ack_meet_the_ack_counts(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "NACK", members.nacking("m", "a1", park=True))
    members.send("m", "ACK", members.acking("m", "a1"))
    members.send("m", "NACK", members.nacking("m", "a1"))
    members.run()
    assert members.told("m") == [1, 1, 0]
    assert members.parked() == []
    assert members.checkpoint() == "a1"
    assert members.release("m") == 1


def test_an_event_that_failed_goes_back_where_the_ack_behind_it_is_refused(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.send("m", "NACK", members.nacking("m", "a1", delay_ms=5000))
    members.server.thread.step()
    members.on_a_full_disk()
    members.send("m", "ACK", members.acking("m", "a1"))
    members.run()
    first, second = members.told("m")
    assert (first, code_of(second)) == (1, "OOM")
    members.on_a_full_disk(False)
    members.pass_ms(5000)
    assert members.fetch("n") == ["a1", "a2"]
