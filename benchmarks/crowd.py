"""Several clients who read the log at once, as projections do that catch up, and PINGs beside them.

Each is a process of its own that reads in pages of a thousand, and looks at no event but the last one of each.
"""

from multiprocessing import Process
from pathlib import Path

from benchmarks import pings, servers, workloads
from benchmarks.connections import asking, connect, receive_lines

_PAGE_EVENTS = 1000


def measure(folder: Path, events: int, rounds: int) -> None:
    """Print the figures of a database that `conditions.prepare` has filled with at least so many events."""
    print(f"{events} events are read by each of several clients at once:")
    with servers.eventflowdb(folder) as (port, _pid):
        for readers in (1, 2, 4):
            for _ in range(rounds):
                works = [Process(target=_read, args=(port, events // _PAGE_EVENTS)) for _ in range(readers)]
                seconds, beside = pings.beside(port, works)
                per_second = readers * events / seconds
                print(f"{readers} readers {per_second:12,.0f} events/s; {pings.describe(beside)}", flush=True)


def _read(port: int, pages: int) -> None:
    with connect(port) as connection:
        place: dict[str, object] = {}
        for _ in range(pages):
            connection.sendall(asking("GETALL", limit=_PAGE_EVENTS, **place))
            reply = receive_lines(connection, 1 + 2 * _PAGE_EVENTS)
            place = {"after": workloads.last_id(reply)}
