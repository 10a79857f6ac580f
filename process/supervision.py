"""What runs all the time is begun again when it fails: child processes, which end with their parent, and tasks."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 4096
_AGAIN_S = 1.0


async def kept_up(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work that goes on as long as its task; where it fails all the same, the log says so, and it is begun again.

    A task that ends with an error tells nobody while something refers to it.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception(f"{name} failed and begins again")
            await asyncio.sleep(_AGAIN_S)
        else:
            return


class Restarts:
    """How long a child that died stays down: longer each time, unless it ran for longer than the longest pause.

    Whoever waits for the child's death calls `started` before and `pause_s` after it.
    """

    def __init__(self, name: str, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        """`name`: of the child, for the log."""
        self._name = name
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s
        self._started = time.monotonic()

    def started(self) -> None:
        """The child runs from now on, or could not be started."""
        self._started = time.monotonic()

    def pause_s(self, exit_code: int | None, **details: Any) -> float:
        """Log the child's death; the seconds to wait before the next start."""
        if time.monotonic() - self._started > self._longest_s:
            self._next_s = self._first_s
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        log.error(f"{self._name} died and is started again", exit_code=exit_code, pause_s=pause_s, **details)
        return pause_s


def at_end_of_stdin(callback: Callable[[], object]) -> None:
    """Call `callback` in another thread when stdin ends: nobody holds the pipe's other end any more.

    A parent that holds that end need do nothing else: it is closed however the parent ends. Unlike PR_SET_PDEATHSIG
    this does not depend on which of the parent's threads started the child.
    """

    def wait() -> None:
        while os.read(0, _READ_BYTES):
            pass
        callback()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def end_with_stdin(last: Callable[[], object] = lambda: None) -> None:
    """End this process with 0, after `last`, when stdin ends."""

    def end() -> None:
        last()
        os._exit(0)

    at_end_of_stdin(end)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent's thread ends: a `preexec_fn` for programs of others.

    Only for a parent that starts it from its only thread: what runs between fork and exec is safe then, and the signal
    is bound to the thread.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
