"""Staying awake for a moment, in case the next request comes at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_NS_PER_US = 1000

_MOST_IN_VAIN = 4
"""Times in a row that polling may end before the next request comes. Then it is tried now and then only."""

_LEFT_OUT = 32
"""Of so many times it is tried once."""


class BusyPoll:
    """Keeps an event loop polling instead of sleeping, for `busy_poll_us` microseconds from each `begin`.

    A core that goes to sleep between two requests of a single client is woken up by an interrupt, which on a virtual
    machine leaves the guest, and finds its caches cold: the model and the server take twice as long. What comes while
    the loop polls is handled as always; under load there is nothing to wait for and nothing is polled.

    Where the client runs on the same core, it can only go on when polling ends, which then makes each request as much
    slower: polling that is in vain again and again is left out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, busy_poll_us: int) -> None:
        self._loop = loop
        self._busy_poll_ns = busy_poll_us * _NS_PER_US
        self._until_ns = 0
        self._polling = False
        self._in_vain = 0  # times in a row
        self._left_out = 0

    def begin(self) -> None:
        """Start anew, also when it polls already."""
        if not self._busy_poll_ns:
            return
        if self._polling:
            self._in_vain = 0
        elif self._in_vain >= _MOST_IN_VAIN:
            self._left_out = (self._left_out + 1) % _LEFT_OUT
            if self._left_out:
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
        else:
            self._in_vain += 1
