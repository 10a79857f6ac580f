"""Staying awake for a moment, in case the next request comes at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_NS_PER_US = 1000


class BusyPoll:
    """Keeps an event loop polling instead of sleeping, for `busy_poll_us` microseconds from each `begin`.

    A core that goes to sleep between two requests of a single client is woken up by an interrupt, which on a virtual
    machine leaves the guest, and finds its caches cold: the model and the server take twice as long. What comes while
    the loop polls is handled as always; under load there is nothing to wait for and nothing is polled.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, busy_poll_us: int) -> None:
        self._loop = loop
        self._busy_poll_ns = busy_poll_us * _NS_PER_US
        self._until_ns = 0
        self._polling = False

    def begin(self) -> None:
        """Start anew, also when it polls already."""
        if not self._busy_poll_ns:
            return
        self._until_ns = time.monotonic_ns() + self._busy_poll_ns
        if not self._polling:
            self._polling = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """A pass of the loop without sleep, and then another one."""
        self._polling = time.monotonic_ns() < self._until_ns
        if self._polling:
            self._loop.call_soon(self._poll)
