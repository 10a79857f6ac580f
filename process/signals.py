"""Signals that end a process, and those that do not."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

SAME_S = 1.0
"""Seconds in which a further signal is the first one once more: a terminal and a shell, say, both pass it on."""

log = structlog.get_logger()


def on_signals(first: Callable[[int], object], second: Callable[[int], object]) -> None:
    """Call `first` at SIGTERM or SIGINT, and `second` at another one that comes later than a second after it.

    SIGHUP, which comes when a terminal is closed, ends nothing. Must be called in the running event loop.
    """
    loop = asyncio.get_running_loop()
    began: float | None = None

    def on_signal(number: int) -> None:
        nonlocal began
        if began is None:
            began = loop.time()
            first(number)
        elif loop.time() - began > SAME_S:
            second(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.info("SIGHUP changes nothing: settings are read at the start"))
