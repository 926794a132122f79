"""FETCH that waits: what it is woken by, and what ends it."""

import pytest

from eventflowdb.errors import CorruptRecord

from .fakes import ReplyError, request
from .members import LONG, STREAMS, Members, adding, code_of, event


def test_a_fetch_that_finds_nothing_waits_for_an_append(members: Members) -> None:
    members.begin_fetch("m")
    assert members.told("m") == []
    members.have("a1")
    assert members.told("m") == [["a1"]]


def test_without_a_wait_an_empty_reply_comes_at_once(members: Members) -> None:
    assert members.fetch("m") == []


def test_at_the_end_of_the_time_the_reply_is_empty(members: Members) -> None:
    members.begin_fetch("m", wait_ms=1000)
    members.pass_ms(999)
    assert members.told("m") == []
    members.pass_ms(1)
    assert members.told("m") == [[]]
    members.have("a1")
    assert members.told("m") == []
    assert members.fetch("n") == ["a1"], "it was not given to one that had ceased to wait"
    assert not members.server.notices.has_watchers


def test_one_that_waits_is_not_kept_until_its_limit_is_met(members: Members) -> None:
    members.begin_fetch("m", 10)
    members.have("a1")
    assert members.told("m") == [["a1"]]


def test_a_fetch_that_waits_is_woken_by_a_release(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.begin_fetch("n")
    members.release("m")
    assert members.told("n") == [["a1"]]


def test_a_member_that_gives_back_all_waits_no_more(members: Members) -> None:
    # On a connection that it has given up, of which the server has not heard.
    members.have("a1")
    members.fetch("m")
    members.begin_fetch("m")
    assert members.release("m", over="new") == 1
    assert members.told("m") == [[]]
    assert members.listed()["in_flight"] == members.listed()["members"] == 0
    assert members.fetch("n") == ["a1"]


def test_a_member_that_gives_back_all_leaves_what_is_gathered_for_it(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("n")
    members.release("n")
    members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    assert members.server.pool.reads, "there may be more than the two"
    assert members.release("m", over="new") == 0, "they had not been given out"
    assert members.told("m") == [[]]
    assert members.fetch("n") == ["a1", "a2"]


def test_a_member_that_gives_back_one_event_goes_on_waiting(members: Members) -> None:
    members.have("a1", "b1")
    members.fetch("m")
    members.begin_fetch("m")
    members.send("new", "NACK", members.nacking("m", "b1", release=True))
    members.run()
    assert members.told("new") == [1]
    assert members.told("m") == [["b1"]]


def test_a_fetch_that_waits_is_woken_by_an_ack_that_frees_a_stream(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m", 1)
    members.begin_fetch("n")
    assert members.told("n") == []
    members.ack("m", "a1")
    assert members.told("n") == [["a2"]]


def test_a_fetch_that_waits_is_woken_by_a_retry_that_is_due(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.nack("m", "a1", delay_ms=5000)
    members.begin_fetch("n")
    members.pass_ms(4999)
    assert members.told("n") == []
    members.pass_ms(1)
    assert members.told("n") == [["a1"]]


def test_members_that_wait_are_served_in_the_order_in_which_they_came(members: Members) -> None:
    waiting = ["m", "n", "o"]
    for member in waiting:
        members.begin_fetch(member, 1)
    members.have("a1")
    members.have("a2", "b1", "a3", "c1")
    assert [members.told(member) for member in waiting] == [[["a1"]], [["b1"]], [["c1"]]]


def test_several_that_wait_share_what_one_append_brings(members: Members) -> None:
    for member in "mno":
        members.begin_fetch(member, 2)
    appends = [{"stream": STREAMS[s], "version": "any", "events": [event(f"{s}{n}") for n in "12"]} for s in "abc"]
    members.ask("writer", "ADDMANY", appends=appends)
    assert [members.told(member) for member in "mno"] == [[["a1", "a2"]], [["b1", "b2"]], [["c1", "c2"]]]


def test_fetches_in_one_pipeline_are_answered_in_order(members: Members) -> None:
    members.have("a1", "a2", "a3")
    members.connection("m").send(request("FETCH", members.fetching("m", 2)) * 3)
    members.run()
    assert members.told("m") == [["a1", "a2"], ["a3"], []]


def test_a_fetch_behind_one_that_waits_is_served_when_that_one_was(members: Members) -> None:
    members.send("m", "FETCH", members.fetching("m", 1, LONG))
    members.send("m", "FETCH", members.fetching("m", 1, LONG))
    members.run()
    members.have("a1")
    assert members.told("m") == [["a1"]]
    members.have("a2")
    assert members.told("m") == [["a2"]]


def test_a_fetch_behind_an_ack_sees_what_the_ack_frees(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m", 1)
    members.send("n", "ACK", members.acking("m", "a1"))
    members.send("n", "FETCH", members.fetching("n"))
    members.run()
    assert members.told("n") == [1, ["a2"]]


def test_a_fetch_sees_what_was_appended_before_it_though_a_read_is_under_way(members: Members) -> None:
    members.fetch("m")
    members.send("m", "FETCH", members.fetching("m"))
    looking = members.server.pool.reads.popleft()
    nothing = looking.read()
    members.send("n", "ADD", adding("a2"))
    members.send("n", "FETCH", members.fetching("n"))
    members.server.commit()
    looking.done.callback(nothing)
    members.run()
    assert members.told("m") == [[]]
    assert members.told("n") == [["a2"], ["a2"]], "that it is stored, and that it is to be handled"


def test_an_append_is_not_missed_while_a_read_is_under_way(members: Members) -> None:
    members.fetch("m")
    members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    looking = members.server.pool.reads.popleft()
    nothing = looking.read()
    members.send("w", "ADD", adding("a2"))
    members.server.commit()
    looking.done.callback(nothing)
    members.run()
    assert members.told("m") == [["a2"]]


def test_one_that_does_not_wait_is_answered_however_fast_the_log_grows(members: Members) -> None:
    members.begin_fetch("n")
    members.send("m", "FETCH", members.fetching("m"))
    for _ in range(3):
        if members.told("m") == [[]]:
            break
        looking = members.server.pool.reads.popleft()
        nothing = looking.read()
        members.send("w", "ADD", adding("b1", type="other"))
        members.server.commit()
        looking.done.callback(nothing)
    else:
        raise AssertionError("it was to be answered after a look that began after it")


@pytest.mark.parametrize("others", [0, 1])
def test_the_end_of_a_connection_leaves_nothing_with_it(members: Members, others: int) -> None:
    members.begin_fetch("m")
    for _ in range(others):
        members.begin_fetch("n")
    members.lose("m")
    assert members.listed()["members"] == others
    members.have("a1")
    if others:
        assert members.told("n") == [["a1"]]
    else:
        assert members.fetch("n") == ["a1"]
        assert members.server.budget.used_bytes == 0


def test_a_connection_that_is_lost_while_events_are_gathered_for_it_gets_none(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("n")
    members.release("n")
    members.send("m", "FETCH", members.fetching("m"))
    assert members.server.pool.reads, "there may be more than the two"
    members.lose("m")
    assert members.listed()["in_flight"] == 0
    assert members.fetch("n") == ["a1", "a2"]


def test_a_connection_that_is_lost_while_its_consumer_is_opened_gets_nothing(members: Members) -> None:
    members.have("a1")
    members.restart()
    members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    members.lose("m")
    members.run()
    assert members.listed()["in_flight"] == members.listed()["members"] == 0
    assert members.fetch("n") == ["a1"]
    members.ack("n", "a1")
    assert members.server.budget.used_bytes == 0


def test_a_client_that_sends_no_more_is_answered_with_what_there_is(members: Members) -> None:
    members.begin_fetch("m")
    members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    members.connection("m").conversation.input_ended()
    members.run()
    assert members.told("m") == [[], []]
    assert members.connection("m").line.end == "close"
    members.have("a1")
    assert members.fetch("n") == ["a1"]


def test_a_client_that_sends_no_more_is_given_what_it_asked_for_before(members: Members) -> None:
    members.have("a1")
    members.send("m", "FETCH", members.fetching("m", wait_ms=LONG))
    members.connection("m").conversation.input_ended()
    members.run()
    assert members.told("m") == [["a1"]]


def test_a_read_that_failed_is_told_to_those_who_wait_and_leaves_nothing_with_them(members: Members) -> None:
    members.have("a1")
    members.fetch("m")
    members.release("m")
    for member in "mn":
        members.send(member, "FETCH", members.fetching(member, wait_ms=LONG))
    members.server.pool.fail(CorruptRecord("a flipped bit"))
    members.run()
    assert [members.told(member) for member in "mn"] == [[ReplyError("CORRUPT", "a flipped bit")]] * 2
    assert members.fetch("o") == ["a1"]


def test_at_the_end_of_the_server_those_who_wait_may_try_again(members: Members) -> None:
    for member in "mno":
        members.begin_fetch(member)
    members.server.dispatcher.shut_down()
    for member in "mno":
        (refused,) = members.told(member)
        assert code_of(refused) == "TRYAGAIN"
    assert not members.server.notices.has_watchers
    assert not members.server.clock.getDelayedCalls()


def test_a_wait_is_no_slow_command(members: Members) -> None:
    members.begin_fetch("m")
    members.pass_ms(100_000)
    members.have("a1")
    members.told("m")
    members.send("m", "SLOWLOG", "LEN")
    assert members.told("m") == [0]
