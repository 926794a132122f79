"""`python -m eventflowdb.processes` is how the supervisor starts the core and the fronts; nobody else does.

The arguments are for those who look at a list of processes.
"""

import os
import socket
import sys

from eventflowdb.processes.child import Child, Reports, begin_logging, choose_reactor, read_start


def main() -> int:
    """Be what the supervisor says; the exit status."""
    control = socket.socket(fileno=0)
    start = read_start(control)
    begin_logging(sys.stdout)
    reactor = choose_reactor(start.reactor)
    child, reports = Child(reactor, control), Reports(control)
    if start.index < 0:
        from eventflowdb.processes.core import Core  # noqa: PLC0415 - neither needs the other's modules

        return child.run(Core(start, reactor, reports))
    from eventflowdb.processes.front import Front  # noqa: PLC0415

    return child.run(Front(start, reactor, reports))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # All is closed. To take the interpreter apart as well takes a third of a second that SIGTERM's two do not have.
    os._exit(status)
