"""Members that are not heard of in time, and servers that forget who holds what."""

import pytest

from .members import NAME, TIMEOUT_MS, Members, adding, code_of


def test_when_nothing_is_heard_of_a_member_others_get_its_events_in_order(members: Members) -> None:
    members.have("a1", "b1", "a2")
    assert members.fetch("m") == ["a1", "b1", "a2"]
    members.pass_ms(TIMEOUT_MS - 1)
    assert members.fetch("n") == []
    members.pass_ms(1)
    assert members.fetch("n") == ["a1", "b1", "a2"]


def test_a_member_that_waits_is_woken_by_the_timeout_of_another(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.begin_fetch("n")
    members.pass_ms(TIMEOUT_MS)
    assert members.told("n") == [["a1", "a2"]]


def test_of_what_timed_out_the_first_event_counts_as_failed_and_the_others_do_not(members: Members) -> None:
    members.ask("admin", "CONSUMER", delete=NAME)
    members.make(tries_max=2)
    members.have("a1", "b1", "a2")
    for member in ("m", "n"):
        assert members.fetch(member) == ["a1", "b1", "a2"]
        assert members.parked() == []
        members.pass_ms(TIMEOUT_MS)
    (parked,) = members.parked()
    assert (parked["event"]["data"], parked["tries"]) == ("a1", 2)
    assert parked["reason"] == f"nothing was heard of n for {TIMEOUT_MS} ms"
    assert members.fetch("o") == ["b1", "a2"]


def test_each_fetch_has_a_time_of_its_own(members: Members) -> None:
    members.have("a1", "b1")
    assert members.fetch("m", 1) == ["a1"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("m", 1) == ["b1"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("n") == ["a1"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("o") == ["b1"]


def test_when_an_event_times_out_what_a_later_fetch_gave_of_its_stream_comes_back_too(members: Members) -> None:
    members.have("a1", "a2", "b1")
    assert members.fetch("m", 1) == ["a1"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("m") == ["a2", "b1"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("n") == ["a1", "a2"]
    members.pass_ms(TIMEOUT_MS // 2)
    assert members.fetch("n") == ["b1"]


@pytest.mark.parametrize("sign", ["ack", "nack", "extend", "release", "add"])
def test_any_word_of_a_member_begins_the_time_of_all_that_came_with_it_anew(members: Members, sign: str) -> None:
    members.have("a1", "b1", "c1")
    assert members.fetch("m") == ["a1", "b1", "c1"]
    members.pass_ms(TIMEOUT_MS - 1)
    if sign == "ack":
        assert members.ack("m", "b1") == 1
    elif sign == "nack":
        assert members.nack("m", "b1", park=True) == 1
    elif sign == "extend":
        assert members.ack("m", extend=["b1"]) == 0
    elif sign == "release":
        assert members.nack("m", "b1", release=True) == 1
        assert members.fetch("o") == ["b1"]
    else:
        assert members.add("m", "b1", "r") == ["r"]
    members.pass_ms(TIMEOUT_MS - 1)
    assert members.fetch("n") == []
    members.pass_ms(2)
    assert members.fetch("n")[:2] == (["a1", "b1"] if sign in ("extend", "release") else ["a1", "c1"])


def test_only_what_a_member_holds_can_be_extended(members: Members) -> None:
    members.have("a1")
    assert members.fetch("m") == ["a1"]
    assert code_of(members.ack("n", extend=["a1"])) == "CONCURRENCY"
    members.pass_ms(TIMEOUT_MS)
    assert code_of(members.ack("m", extend=["a1"])) == "CONCURRENCY"


def test_a_late_ack_is_taken_while_nobody_holds_the_event(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.pass_ms(TIMEOUT_MS)
    assert members.ack("m", "a1") == 1
    assert members.fetch("n") == ["a2"]
    assert members.checkpoint() == "a1"


def test_a_late_ack_is_refused_while_another_holds_the_event(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("n", 1) == ["a1"]
    assert code_of(members.ack("m", "a1")) == "CONCURRENCY"
    assert members.ack("n", "a1") == 1
    assert members.ack("m", "a1") == 0


def test_a_late_ack_does_not_take_a_stream_from_the_member_that_has_it(members: Members) -> None:
    members.have("a1", "a2", "a3")
    assert members.fetch("m", 2) == ["a1", "a2"]
    members.pass_ms(TIMEOUT_MS)
    assert members.fetch("n", 1) == ["a1"]
    assert members.ack("m", "a2") == 1
    assert members.fetch("m") == [], "n holds a1"
    assert members.fetch("n") == ["a3"]


def test_while_a_late_ack_is_under_way_its_event_is_not_given_out(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.pass_ms(TIMEOUT_MS)
    members.send("m", "ACK", members.acking("m", "a1"))
    members.send("n", "FETCH", members.fetching("n"))
    members.server.read()
    assert members.told("n") == [[]]
    members.run()
    assert members.told("m") == [1]
    assert members.fetch("n") == ["a2"]


def test_a_late_ack_that_is_refused_for_want_of_room_changes_nothing(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.pass_ms(TIMEOUT_MS)
    members.on_a_full_disk()
    assert code_of(members.ack("m", "a1")) == "OOM"
    members.on_a_full_disk(False)
    assert members.fetch("n") == ["a1", "a2"]


def test_what_a_member_had_comes_to_itself_in_order_when_it_timed_out(members: Members) -> None:
    """It asks for more before it is done with what it has."""
    members.have("a1", "a2")
    members.fetch("m")
    members.begin_fetch("m")
    members.server.clock.advance(TIMEOUT_MS / 1000)
    members.server.read()
    assert members.told("m") == [], "a1 comes before a2, and is not back yet"
    members.run()
    assert members.told("m") == [["a1", "a2"]]


def test_a_stream_gives_nothing_out_while_an_event_of_it_is_failing(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.begin_fetch("m")
    members.send("w", "ADD", adding("a2"))
    members.server.commit()
    members.send("other", "NACK", members.nacking("m", "a1", delay_ms=0))
    members.server.read()
    assert members.told("m") == [], "a1 comes before a2, and is not back yet"
    members.run()
    assert members.told("m") == [["a1", "a2"]]


def test_an_event_that_an_ack_under_way_concerns_does_not_time_out(members: Members) -> None:
    members.have("a1", "b1")
    members.fetch("m")
    members.server.clock.advance((TIMEOUT_MS - 1) / 1000)
    members.send("m", "ACK", members.acking("m", "a1"))
    members.server.clock.advance(TIMEOUT_MS * 2 / 1000)
    members.send("n", "FETCH", members.fetching("n"))
    members.run()
    assert members.told("m") == [1]
    assert members.told("n") == [[]], "it was heard of m when the ack came"


def test_when_nobody_holds_anything_nothing_is_timed(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    assert len(members.server.clock.getDelayedCalls()) == 1
    members.ack("m", "a1")
    members.pass_ms(TIMEOUT_MS)
    assert not members.server.clock.getDelayedCalls()
    assert not members.server.notices.has_watchers


# After a restart.


def test_after_a_restart_nobody_holds_anything_and_what_was_not_acked_comes_again(members: Members) -> None:
    members.have("a1", "b1", "a2", "b2")
    members.fetch("m")
    members.ack("m", "a1", "b2")
    members.restart()
    assert members.fetch("n") == ["b1", "a2"]
    assert members.listed()["in_flight"] == 2


def test_after_a_restart_a_late_ack_is_taken(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.restart()
    assert members.ack("m", "a1") == 1
    assert members.fetch("n") == ["a2"]
    assert members.ack("m", "a1") == 0
    assert code_of(members.ack("m", "a2")) == "CONCURRENCY"


def test_after_a_restart_an_ack_out_of_order_is_remembered(members: Members) -> None:
    members.have("a1", "b1", "c1")
    members.fetch("m")
    members.restart()
    assert members.ack("m", "b1") == 1
    assert members.ack("m", "b1") == 0
    assert members.fetch("n") == ["a1", "c1"]
    assert members.checkpoint() is None


@pytest.mark.parametrize("is_full", [False, True])
def test_an_event_that_nobody_has_read_is_not_given_out_while_an_ack_of_it_is_stored(
    members: Members, is_full: bool
) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.restart()
    members.on_a_full_disk(is_full)
    members.send("m", "ACK", members.acking("m", "a1"))
    members.server.read()
    members.send("n", "FETCH", members.fetching("n"))
    members.server.read()
    assert members.told("n") == [[]]
    members.run()
    (reply,) = members.told("m")
    assert reply == 1 or code_of(reply) == "OOM"
    assert members.fetch("n") == (["a1", "a2"] if is_full else ["a2"])


@pytest.mark.parametrize("is_first_stored", [False, True])
def test_an_event_that_several_ack_before_anybody_has_read_it_is_acked_once(
    members: Members, is_first_stored: bool
) -> None:
    members.have("a1", "a2")
    members.fetch("m")
    members.restart()
    members.send("m", "ACK", members.acking("m", "a1"))
    members.server.read()
    members.send("n", "FETCH", members.fetching("n"))
    if is_first_stored:
        members.server.thread.step()
    members.server.read()
    members.send("o", "ACK", members.acking("o", "a1"))
    members.run()
    assert members.told("n") == [[]]
    assert (members.told("m"), members.told("o")) == ([1], [0])
    assert members.fetch("n") == ["a2"]


def test_after_a_restart_an_event_that_failed_waits_as_long_as_it_would_have(members: Members) -> None:
    members.have("a1", "a2", "b1")
    members.fetch("m")
    members.nack("m", "a1", delay_ms=60_000)
    members.pass_ms(20_000)
    members.restart()
    assert members.fetch("n") == ["b1"]
    members.pass_ms(39_999)
    assert members.fetch("n") != ["a1", "a2"]
    members.release("n")
    members.pass_ms(1)
    assert members.fetch("n", 2) == ["a1", "a2"]


def test_after_a_restart_an_event_that_failed_comes_in_its_place(members: Members) -> None:
    members.have("a1", "b1", "a2")
    members.fetch("m")
    members.nack("m", "a2", delay_ms=0)
    members.restart()
    assert members.fetch("n", 1) == ["a1"]
    assert members.fetch("n") == ["b1", "a2"]


def test_tries_are_counted_across_restarts(members: Members) -> None:
    members.ask("admin", "CONSUMER", delete=NAME)
    members.make(tries_max=3)
    members.have("a1")
    for _ in range(3):
        assert members.fetch("m") == ["a1"]
        assert members.nack("m", "a1", delay_ms=0) == 1
        members.restart()
    assert members.fetch("m") == []
    assert members.parked()[0]["tries"] == 3


def test_after_a_restart_a_replayed_event_behind_the_checkpoint_can_be_acked(members: Members) -> None:
    members.have("a1", "b1")
    members.fetch("m")
    members.nack("m", "b1", park=True)
    members.ask("admin", "CONSUMER", replay=NAME)
    members.restart()
    assert members.ack("m", "b1") == 1
    assert members.fetch("m") == ["a1"]
