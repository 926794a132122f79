"""Who may have which events of a consumer: compared with a naive model, whatever happens in whatever order."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.service.window import Delivery, Entry, Window

MANY = 10**9


def entry(number: int, stream: str = "s", tries: int = 0, due: float = 0.0) -> Entry:
    """An event."""
    return Entry(number.to_bytes(16, "big"), stream, b"record", tries, due)


def window_of(*entries: Entry) -> Window:
    """A window with some events."""
    window = Window()
    for each in entries:
        window.add(each, 0.0)
    return window


def take(window: Window, member: str, limit: int = MANY, now: float = 0.0, bytes_max: int = MANY) -> list[int]:
    """What a member is given; the numbers of the events."""
    delivery = Delivery(member)
    window.take(delivery, limit, bytes_max, now)
    window.begin(delivery, now + 30)
    return [int.from_bytes(event_id, "big") for event_id in delivery.entries]


def test_one_member_gets_the_events_in_the_order_of_the_log() -> None:
    window = window_of(entry(1, "a"), entry(2, "b"), entry(3, "a"), entry(4, "c"), entry(5, "b"))
    assert take(window, "m", 2) == [1, 2]
    assert take(window, "m") == [3, 4, 5]
    assert take(window, "m") == []


def test_a_stream_is_with_one_member_at_a_time() -> None:
    window = window_of(entry(1, "a"), entry(2, "b"), entry(3, "a"), entry(4, "b"))
    assert take(window, "m", 1) == [1]
    assert take(window, "n") == [2, 4]
    assert take(window, "o") == []
    assert take(window, "m") == [3]


def test_a_stream_is_free_again_when_all_is_settled() -> None:
    first, second, third = entry(1), entry(2), entry(3)
    window = window_of(first, second, third)
    assert take(window, "m", 2) == [1, 2]
    window.settle(first, 0.0)
    assert take(window, "n") == []
    window.settle(second, 0.0)
    assert take(window, "n") == [3]
    window.settle(third, 0.0)
    assert len(window) == window.held_count == 0
    assert window.members == set()


def test_what_comes_back_comes_before_what_is_behind_it() -> None:
    first = entry(1)
    window = window_of(first, entry(2), entry(3))
    assert take(window, "m", 2) == [1, 2]
    window.release(first, 0.0)
    assert take(window, "n") == [1, 2, 3]


def test_behind_one_that_has_to_wait_its_stream_waits() -> None:
    first = entry(1, "a")
    window = window_of(first, entry(2, "a"), entry(3, "b"))
    assert take(window, "m") == [1, 2, 3]
    first.due = 5.0
    window.release(first, 1.0)
    assert take(window, "n", now=4.0) == []
    assert window.next_due() == 5.0
    assert take(window, "n", now=5.0) == [1, 2]


def test_a_stream_gives_out_nothing_until_it_is_decided_what_becomes_of_an_event() -> None:
    first, second = entry(1, "a"), entry(4, "b")
    window = window_of(first, entry(2, "a"), entry(3, "a"), second, entry(5, "b"))
    assert take(window, "m", 1) == [1]
    window.block(first)
    window.block(second)
    assert take(window, "m") == take(window, "n") == []
    window.release(first, 0.0)
    window.settle(second, 0.0)
    assert take(window, "m") == take(window, "n") == []
    window.unblock(first, 0.0)
    window.unblock(second, 0.0)
    assert take(window, "n", 1) == [1]
    assert take(window, "m") == [5]


def test_a_stream_may_be_emptied_and_filled_while_it_is_decided_what_becomes_of_an_event() -> None:
    first = entry(1)
    window = window_of(first)
    window.block(first)
    window.settle(first, 0.0)
    window.add(entry(2), 0.0)
    assert take(window, "m") == []
    window.unblock(first, 0.0)
    window.unblock(first, 0.0)
    assert take(window, "m") == [2]


def test_one_that_was_never_given_out_may_be_settled() -> None:
    first, second = entry(1), entry(2)
    window = window_of(first, second)
    window.settle(first, 0.0)
    assert take(window, "m") == [2]


def test_a_late_one_takes_its_place_in_the_stream() -> None:
    window = window_of(entry(2), entry(3))
    window.add(entry(1), 0.0, is_next=False)
    assert take(window, "m") == [1, 2, 3]


def test_a_delivery_is_bounded_by_its_bytes_but_has_one_event_at_least() -> None:
    window = window_of(entry(1), entry(2), entry(3))
    assert take(window, "m", bytes_max=1) == [1]
    assert take(window, "m", bytes_max=7) == [2, 3]


def test_a_delivery_expires_when_nothing_is_heard_of_it() -> None:
    first = entry(1)
    window = window_of(first)
    take(window, "m")
    assert window.next_deadline() == 30
    assert list(window.expired(29.9)) == []
    (expired,) = window.expired(30)
    assert list(expired.entries.values()) == [first]
    assert list(window.expired(99)) == [], "told once"


def test_a_delivery_that_was_heard_of_expires_later() -> None:
    window = window_of(entry(1))
    delivery = Delivery("m")
    window.take(delivery, 1, MANY, 0.0)
    window.begin(delivery, 30)
    window.begin(delivery, 50)
    assert list(window.expired(30)) == []
    assert window.next_deadline() == 50
    assert list(window.expired(50)) == [delivery]


def test_a_delivery_that_is_settled_expires_never() -> None:
    first = entry(1)
    window = window_of(first)
    take(window, "m")
    window.settle(first, 1.0)
    assert window.next_deadline() is None
    assert list(window.expired(99)) == []


def test_it_has_room_until_so_many_are_there_or_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventflowdb.service.window.WINDOW_EVENTS_MAX", 3)
    monkeypatch.setattr("eventflowdb.service.window.WINDOW_DONE_MAX", 5)
    window = Window()
    entries = [entry(number, f"{number}") for number in range(1, 9)]
    for each in entries[:3]:
        assert window.has_room
        window.add(each, 0.0)
    assert not window.has_room
    window.settle(entries[1], 0.0)
    window.settle(entries[2], 0.0)
    for each in entries[3:5]:
        assert window.has_room
        window.add(each, 0.0)
        window.settle(each, 0.0)
    assert not window.has_room, "the first is not settled, and so much behind it is"
    window.settle(entries[0], 0.0)
    assert window.has_room


class Model:
    """The same without any of the structures: everything is looked for anew."""

    def __init__(self) -> None:
        self.entries: dict[int, tuple[str, float]] = {}
        self.holders: dict[int, str] = {}

    def may_have(self, member: str, now: float) -> int | None:
        """The next event that a member may have."""
        for number, (stream, due) in sorted(self.entries.items()):
            if number in self.holders:
                continue
            same = [other for other, (its, _) in self.entries.items() if its == stream]
            holders = {self.holders[other] for other in same if other in self.holders}
            waits = [other for other in same if other < number and other not in self.holders]
            if not waits and due <= now and holders <= {member}:
                return number
        return None

    def release(self, number: int, due: float) -> None:
        """It comes back, and those behind it."""
        stream, _ = self.entries[number]
        self.entries[number] = stream, due
        for other, (its, _) in self.entries.items():
            if its == stream and other >= number:
                self.holders.pop(other, None)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 4))
def test_it_does_what_a_naive_model_does(seed: int, streams: int, members: int) -> None:
    chance = random.Random(seed)
    window, model = Window(), Model()
    now, next_number = 0.0, 1000
    for _ in range(80):
        act = chance.randrange(6)
        if act == 0:
            name, number = f"s{chance.randrange(streams)}", next_number
            next_number += 1
            if chance.random() < 0.2:
                number = chance.randrange(1000)
            if number not in model.entries:
                due = now + chance.choice([0, 0, 3])
                window.add(entry(number, name, due=due), now, is_next=number >= 1000)
                model.entries[number] = name, due
        elif act in (1, 2):
            member, limit = f"m{chance.randrange(members)}", chance.randrange(1, 5)
            expected: list[int] = []
            while len(expected) < limit and (number_or_none := model.may_have(member, now)) is not None:
                model.holders[number_or_none] = member
                expected.append(number_or_none)
            assert take(window, member, limit, now) == expected
        elif act == 3 and model.entries:
            number = chance.choice(list(model.entries))
            window.settle(_found(window, number), now)
            del model.entries[number]
            model.holders.pop(number, None)
        elif act == 4 and model.holders:
            number = chance.choice(list(model.holders))
            released = _found(window, number)
            released.due = now + chance.choice([0, 2])
            model.release(number, released.due)
            window.release(released, now)
        else:
            now += chance.choice([0, 1, 1, 5])
        assert len(window) == len(model.entries)
        assert window.held_count == len(model.holders)
        assert window.members == set(model.holders.values())


def _found(window: Window, number: int) -> Entry:
    found = window.find(number.to_bytes(16, "big"))
    assert found is not None
    return found
