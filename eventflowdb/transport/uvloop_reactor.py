"""Twisted's asyncio reactor on a loop of uvloop: `twistd --reactor=uvloop`, and what the server takes by itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger


class UvloopReactor(AsyncioSelectorReactor):
    """Calls from threads are made when the loop comes to them; Twisted's own has each wait for a timer of its own."""

    _log = Logger()

    # Twisted's own classes call the parameter `f` here, and `callable` there.
    def callFromThread(self, f: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Overridden: see the class. They keep their order."""
        self._asyncioEventloop.call_soon_threadsafe(self._call, f, args, kwargs)

    def stop(self) -> None:
        """Overridden: a second signal, or a SHUTDOWN beside one, asks for what is under way already."""
        if self._stopped and self._startedBefore:
            return
        super().stop()  # type: ignore[no-untyped-call]  # Twisted has not typed it

    def _call(self, call: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, Any]) -> None:
        try:
            call(*args, **kwargs)
        except Exception:
            self._log.failure("a call from a thread failed")


def install() -> None:
    """Make it the reactor of this process."""
    installReactor(UvloopReactor(uvloop.new_event_loop()))
