"""Temporary local copies of folders in buckets, for programs that read local files only."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from server.batch.storage.errors import StorageError, as_storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from server.batch.storage.locations import InputFile

_COPY_BYTES = 1 << 20
_PREFIX = "predictor-model-"


class LocalCopies:
    """Folders below `scratch`; None: the system's folder for temporary files."""

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch

    @contextlib.contextmanager
    def copy(self, location: str, files: Sequence[InputFile], open_input: Callable[[str], BinaryIO]) -> Iterator[Path]:
        """A copy of the files below a location, until the end of the block. Raises StorageError."""
        with self._temporary_folder() as copy:
            _check_space(location, files, copy)
            for file in files:
                with open_input(file.location) as source:
                    _write(source, copy / file.relative, location)
            yield copy

    def delete_leftovers(self) -> None:
        """Delete the copies that killed processes left in `scratch`. Nobody may be using them."""
        if self._scratch is not None:
            for copy in self._scratch.glob(f"{_PREFIX}*"):
                shutil.rmtree(copy, ignore_errors=True)

    @contextlib.contextmanager
    def _temporary_folder(self) -> Iterator[Path]:
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._scratch, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _write(source: BinaryIO, target: Path, location: str) -> None:
    """Only the writing is an error of the copy: reading has errors of its own, and may be told to stop."""
    with as_storage_errors("copied", location):
        target.parent.mkdir(parents=True, exist_ok=True)
        output = target.open("wb")
    with output:
        for block in iter(partial(source.read, _COPY_BYTES), b""):
            with as_storage_errors("copied", location):
                output.write(block)
                output.flush()


def _check_space(location: str, files: Sequence[InputFile], folder: Path) -> None:
    needed = sum(file.size or 0 for file in files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(f"{location} has {needed} bytes, and {folder} has space for {free}")
