"""What fronts know of each other through shared memory."""

import mmap

import pytest

from eventflowdb.service.session import Session
from eventflowdb.service.slots import SharedClients, Slots, slots_bytes


@pytest.fixture
def slots() -> Slots:
    """The memory of three fronts."""
    return Slots(mmap.mmap(-1, slots_bytes(3)))


def connect(clients: SharedClients) -> Session:
    """A new connection."""
    session = Session(clients.next_id(), "127.0.0.1:1", "127.0.0.1:2", True, 0.0)
    clients.add(session)
    return session


def test_the_bound_is_one_for_all(slots: Slots) -> None:
    fronts = [SharedClients(3, slots, index) for index in range(3)]
    sessions = [connect(front) for front in fronts[:2]]
    assert fronts[2].has_room
    connect(fronts[2])
    assert not any(front.has_room for front in fronts)
    fronts[0].remove(sessions[0])
    assert all(front.has_room for front in fronts)
    slots.clear(1)
    assert slots.connections() == 1


def test_no_id_is_given_twice_not_even_by_a_front_that_was_started_again(slots: Slots) -> None:
    fronts = [SharedClients(100, slots, index) for index in range(3)]
    ids = [connect(front).id for front in fronts for _ in range(5)]
    slots.clear(1)
    again = SharedClients(100, slots, 1)
    ids += [connect(again).id for _ in range(5)]
    assert len(set(ids)) == 20
    assert min(ids) == 1


def test_the_front_with_clearly_more_connections_stands_back_for_one_that_listens(slots: Slots) -> None:
    first, second, third = (SharedClients(100, slots, index) for index in range(3))
    first.open()
    connect(first)
    assert not first.stands_back(0), "no other listens"
    second.open()
    assert first.stands_back(0)
    assert not second.stands_back(0)
    connect(second)
    assert not first.stands_back(0)
    assert first.stands_back(1)
    third.open()
    assert first.stands_back(0)
    slots.clear(2)
    assert not first.stands_back(0)


def test_the_end_of_a_monitor_is_told(slots: Slots) -> None:
    clients = SharedClients(100, slots, 0)
    told: list[None] = []
    clients.on_monitor_lost = lambda: told.append(None)
    plain, monitor = connect(clients), connect(clients)
    monitor.is_monitor = True
    clients.remove(plain)
    assert told == []
    clients.remove(monitor)
    assert told == [None]
