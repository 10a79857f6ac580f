"""Memory that has been freed, and is kept by the C library for what comes next."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_DELAY_S = 1.0
"""What runs then gets its memory from the kernel again, some milliseconds a time: not more often than this."""


def give_back() -> None:
    """Return to the kernel what is free. Engines keep it otherwise: see ext/python/engine.h."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others return it by themselves
    if trim is not None:
        trim(0)


class FreedMemory:
    """What is left by something large, returned soon after."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def give_back_soon(self) -> None:
        """Return it a second later, beside the event loop."""
        if self._timer is None:
            self._timer = self._loop.call_later(_DELAY_S, self._give_back)

    def close(self) -> None:
        """Return nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_back(self) -> None:
        self._timer = None
        self._loop.run_in_executor(None, give_back)
