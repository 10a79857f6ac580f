"""Files that may change while a process runs: their new content is read within a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from process.supervision import kept_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PERIOD_S = 0.25

Mark = tuple[int, int, int, int] | None

log = structlog.get_logger(__name__)


class FileWatch:
    """Looks at files at intervals. Polling, because it sees what no event tells: files on a network, and the links by
    which Kubernetes swaps a secret's whole folder."""

    def __init__(self) -> None:
        self._watched: list[tuple[Sequence[Path], list[Mark], Callable[[], object]]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, paths: Sequence[Path], on_change: Callable[[], object]) -> None:
        """Call `on_change` in the event loop when one of the files is another than now."""
        self._watched.append((paths, _marks(paths), on_change))

    def start(self) -> None:
        """Begin to look, where there is anything to look at."""
        if self._watched and self._task is None:
            self._task = asyncio.get_running_loop().create_task(kept_up("the look for files that changed", self._look))

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            for paths, marks, on_change in self._watched:
                now = await asyncio.to_thread(_marks, paths)
                if now == marks or None in now:  # one that is being replaced will be back
                    continue
                marks[:] = now
                try:
                    on_change()
                except Exception:
                    log.exception("a file that changed could not be read again", paths=list(map(str, paths)))


def _marks(paths: Sequence[Path]) -> list[Mark]:
    return [_mark(path) for path in paths]


def _mark(path: Path) -> Mark:
    """What tells a file from another at the same path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
