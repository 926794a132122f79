"""How work reaches a thread and comes back: the two interfaces that tests step by hand."""

from collections.abc import Callable
from typing import Any, Protocol


class Worker(Protocol):
    """Runs what it is given on threads of its own (twisted.python.threadpool.ThreadPool does)."""

    def callInThread(self, func: Callable[..., object], *args: Any) -> None:
        """Run `func(*args)` on some thread, some time."""


class ReactorThread(Protocol):
    """The way back to the reactor's thread (the reactor itself is one)."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> object:  # noqa: A002
        """Run `callable(*args)` on the reactor's thread, soon."""
