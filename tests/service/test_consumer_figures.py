"""How consumers show how they are getting on: CONSUMER LIST and INFO."""

import json
from uuid import UUID

import pytest

from eventflowdb.limits import HOLDINGS_SHOWN_MAX

from .fakes import read_replies, request
from .members import NAME, TIMEOUT_MS, Members, event


def test_the_list_shows_what_each_consumer_is_and_how_it_is_getting_on(members: Members) -> None:
    members.ask("admin", "CONSUMER", create="all", timeout_ms=5, retry_ms=6, tries_max=7)
    members.have("a1", "a2", "b1", "c1")
    members.fetch("m", 1)
    members.ack("m", "a1")
    members.fetch("m", 1)
    members.fetch("n", 1)
    members.nack("n", "b1", park=True)
    members.begin_fetch("n", 1)
    members.pass_ms(1500)
    members.send("admin", "CONSUMER", "LIST")
    members.run()
    ((everything, mail),) = read_replies(members.connection("admin").take())
    shown = json.loads(mail)
    assert shown == {
        "consumer": NAME,
        "query": {"types": ["t"]},
        "timeout_ms": 30_000,
        "retry_ms": 1000,
        "tries_max": 10,
        "checkpoint": members.ids["a1"],
        "lag": 2,
        "lag_is_whole": True,
        "lag_ms": shown["lag_ms"],
        "in_flight": 2,
        "members": 2,
        "parked": 1,
        "holding": shown["holding"],
    }
    assert sum(one["in_flight"] for one in shown["holding"]) == 2
    assert 1500 <= shown["lag_ms"] < 1600
    other = json.loads(everything)
    assert other["query"] == {}
    assert [other[name] for name in ("timeout_ms", "retry_ms", "tries_max", "lag", "in_flight")] == [5, 6, 7, 4, 0]
    assert other["checkpoint"] == "0" * 26


def test_who_holds_what_is_told_the_oldest_first(members: Members) -> None:
    members.have("a1", "b1", "a2", "c1")
    assert members.fetch("m", 2) == ["a1", "b1"]
    members.pass_ms(1000)
    assert members.fetch("n", 1) == ["c1"]
    assert members.fetch("m", 1) == ["a2"]
    assert members.listed()["holding"] == [
        {"member": "m", "in_flight": 3, "first": members.ids["a1"], "left_ms": TIMEOUT_MS - 1000},
        {"member": "n", "in_flight": 1, "first": members.ids["c1"], "left_ms": TIMEOUT_MS},
    ]
    members.ack("m", extend=["b1"])
    members.ack("m", "a1")
    [holding, _] = members.listed()["holding"]
    assert holding == {"member": "m", "in_flight": 2, "first": members.ids["b1"], "left_ms": TIMEOUT_MS}
    members.pass_ms(TIMEOUT_MS)
    assert members.listed()["holding"] == []


def test_not_more_than_a_hundred_holders_are_told_of(members: Members) -> None:
    count = HOLDINGS_SHOWN_MAX + 5
    for number in range(count):
        members.ask("writer", "ADD", stream=str(UUID(int=number + 1)), version=0, events=[event(f"x{number}")])
    for number in range(count):
        members.fetch(f"m{number}", 1)
    shown = members.listed()
    assert shown["members"] == count
    assert [one["member"] for one in shown["holding"]] == [f"m{number}" for number in range(HOLDINGS_SHOWN_MAX)]


def test_info_has_a_line_for_each_consumer(members: Members) -> None:
    members.have("a1", "a2")
    members.fetch("m", 1)
    members.pass_ms(2000)
    members.send("admin", "INFO", "consumers")
    members.run()
    (text,) = read_replies(members.connection("admin").take())
    line = text.decode().splitlines()[1]
    name, _, facts = line.partition(":")
    assert name == "consumer_0"
    figures = dict(item.split("=") for item in facts.split(","))
    lag_ms = int(figures.pop("lag_ms"))
    assert 2000 <= lag_ms < 2100
    assert figures == {
        "name": NAME,
        "lag": "2",
        "lag_whole": "1",
        "in_flight": "1",
        "members": "1",
        "parked": "0",
        "checkpoint": "0" * 26,
    }


def test_a_consumer_that_is_done_has_no_lag(members: Members) -> None:
    members.have("a1", "a2")
    members.ack("m", *members.fetch("m"))
    members.pass_ms(5000)
    shown = members.listed()
    assert (shown["lag"], shown["lag_ms"], shown["in_flight"], shown["members"]) == (0, 0, 0, 0)


def test_a_replayed_event_counts_as_lag_from_its_own_time_on(members: Members) -> None:
    members.have("a1")
    members.pass_ms(3000)
    members.have("b1")
    members.fetch("m")
    members.nack("m", "a1", park=True)
    members.ack("m", "b1")
    assert members.listed()["lag"] == 0
    members.ask("admin", "CONSUMER", replay=NAME)
    shown = members.listed()
    assert shown["lag"] == 1
    assert shown["lag_ms"] >= 3000


@pytest.mark.parametrize("query", [{}, {"types": ["t"]}])
def test_what_is_stuck_shows_however_much_is_settled_behind_it(
    members: Members, monkeypatch: pytest.MonkeyPatch, query: dict[str, list[str]]
) -> None:
    monkeypatch.setattr("eventflowdb.service.consumers.LAG_STEPS_MAX", 10)
    members.ask("admin", "CONSUMER", delete=NAME)
    members.make(query=query)
    members.have("a1", *[f"b{number}" for number in range(30)], "c1")
    members.fetch("m", 1)
    members.pass_ms(5000)
    members.ack("n", *members.fetch("n", 30))
    shown = members.listed()
    assert (shown["lag"], shown["lag_is_whole"]) == (1 if query else 2, False)
    assert shown["lag_ms"] >= 5000


def test_the_words_of_the_protocol_are_taken_in_any_case(members: Members) -> None:
    members.connection("m").send(request("consumer", "list"), request("CONSUMER"))
    members.run()
    first, second = members.told("m")
    assert first == second
    assert len(first) == 1
