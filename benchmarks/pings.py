"""What other clients notice of some work: PINGs beside it, one after the other."""

import time
from multiprocessing import Process

from benchmarks.connections import connect, receive_lines, request

_PAUSE_SECONDS = 0.001


def beside(port: int, works: list[Process]) -> tuple[float, list[float]]:
    """How long some work takes that begins now, and how long PINGs take meanwhile; the shortest first. Seconds."""
    question, taken = request("PING"), []
    with connect(port) as connection:
        for work in works:
            work.start()
        started = time.perf_counter()
        while any(work.is_alive() for work in works):
            began = time.perf_counter()
            connection.sendall(question)
            receive_lines(connection, 1)
            taken.append(time.perf_counter() - began)
            time.sleep(_PAUSE_SECONDS)
        for work in works:
            work.join()
            if work.exitcode:
                raise SystemExit("the reads failed")
        return time.perf_counter() - started, sorted(taken)


def describe(pings: list[float]) -> str:
    """Their middle, their 99th of 100 and the longest."""
    p50, p99 = (1000 * pings[len(pings) * share // 100] for share in (50, 99))
    return f"PING p50 {p50:.2f}, p99 {p99:.2f}, max {1000 * pings[-1]:.2f} ms"
