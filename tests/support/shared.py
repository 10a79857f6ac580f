"""What is made once for all the workers of a test run, whoever needs it first."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest


class SharedFiles:
    """Files that tests only read, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(exist_ok=True)

    @classmethod
    def of_run(cls, factory: pytest.TempPathFactory) -> Self:
        """All workers of pytest-xdist share the folder, and it ends with the run."""
        base = factory.getbasetemp()
        run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        return cls(run / "shared")

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The path `name` in a folder of its own, after `make(path)` has written it, in this worker or in another.

        Where `make` raises, so does this, and the next who asks tries again.
        """
        folder = self._folder / name.replace("/", "-")
        done = folder / ".done"
        path = folder / name.rpartition("/")[2]
        folder.mkdir(exist_ok=True)
        with _locked(folder / ".lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in this block."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
