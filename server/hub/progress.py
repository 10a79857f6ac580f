"""How far a download is."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

LOG_EVERY_S = 10.0


class Progress:
    """Bytes of all files of a model. Threads count, and each may call `told`, though not more often than it asks to."""

    def __init__(self, told: Callable[[Progress], object], every_s: float) -> None:
        self.total = 0
        """Bytes; what has been there before is not among them."""
        self.done = 0
        self._told = told
        self._every_s = every_s
        self._next = time.monotonic() + every_s
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def expect(self, count: int) -> None:
        """So many more bytes are to come."""
        with self._lock:
            self.total += count

    def add(self, count: int) -> None:
        """So many bytes are there; a negative number: they are to be fetched again."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + self._every_s
        self._told(self)

    def __str__(self) -> str:
        return f"{self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"

    @property
    def bytes_per_s(self) -> float:
        """Since the beginning."""
        return self.done / max(time.monotonic() - self._started, 1e-3)


def logged(model: str) -> Progress:
    """Progress as sparse lines of the log."""

    def told(progress: Progress) -> None:
        log.info(
            "downloading a model",
            model=model,
            bytes=progress.done,
            of=progress.total,
            percent=round(100 * progress.done / max(progress.total, 1)),
            bytes_per_s=round(progress.bytes_per_s),
        )

    return Progress(told, LOG_EVERY_S)
