"""Whose turn it is: HTTP shares the event loop with the Thrift port, and must not hold it up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

_MOST = 64
"""Requests, or pieces of what else comes, that are begun in a pass of the loop: about two milliseconds of work."""


class Waiting(Protocol):
    """A connection that has something to begin."""

    def go_on(self) -> None:
        """It may ask for a turn again."""


class Turns:
    """Of all connections. However much comes, other work of the loop waits for no more than `most` turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int = _MOST) -> None:
        self._loop = loop
        self._most = most
        self._left = most
        self._waiting: deque[Waiting] = deque()

    def take(self) -> bool:
        """Whether one more thing may be begun in this pass."""
        left = self._left
        if left == self._most:
            self._loop.call_soon(self._renew)
        if left == 0:
            return False
        self._left = left - 1
        return True

    def wait(self, connection: Waiting) -> None:
        """Let the connection go on in one of the next passes; `take` has just said no."""
        self._waiting.append(connection)

    def _renew(self) -> None:
        self._left = self._most
        waiting = self._waiting
        for _ in range(len(waiting)):  # who has more than there are turns left waits again, behind all others
            if self._left == 0:
                break
            waiting.popleft().go_on()
