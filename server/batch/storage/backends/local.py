"""Files of this machine."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from process.files import AtomicFile
from server.batch.storage.backends.backend import READ_BYTES
from server.batch.storage.errors import StorageError
from server.batch.storage.locations import Location, parse
from server.batch.storage.permissions import own_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.batch.storage.permissions import AllowedLocations


class LocalBackend:
    """Links to files may lead anywhere that is allowed; links to folders are not followed; no hidden files."""

    def __init__(self, allowed: AllowedLocations) -> None:
        self._allowed = allowed

    def list_below(self, location: Location) -> list[tuple[str, int]]:
        top = Path(location.path).resolve()
        files = []
        for folder, folders, names in os.walk(top, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in folders:
                if Path(folder, name).is_symlink():
                    raise StorageError(f"{folder}/{name} is a link to a folder; such links are not followed")
            for name in names:
                if not name.startswith("."):
                    path = Path(folder, name)
                    files.append((str(path.relative_to(top)), self._size(path)))
        return files

    def _size(self, path: Path) -> int:
        if path.is_symlink():
            self._allowed.check(parse(str(path)), "read")
        status = path.stat()
        if (setting := self._allowed.own.setting_of_inode(status)) is not None:
            raise own_file(str(path), setting)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is no regular file")
        return status.st_size

    def size(self, location: Location) -> int:
        with self.open(location) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, location: Location) -> Any:
        # without blocking, because a pipe would wait for its writer
        opened = os.open(_resolved(location), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise StorageError(f"{location.text} is no regular file")
        return io.FileIO(opened)

    def create(self, location: Location, owner: str, on_upload: Callable[[str], None]) -> AtomicFile:
        path = _resolved(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        return AtomicFile(path, _temporary_prefix(path, owner), READ_BYTES)

    def delete_leftovers(self, location: Location, owner: str, upload: str | None) -> None:
        path = _resolved(location)
        for leftover in path.parent.glob(f"{_temporary_prefix(path, owner)}*"):
            leftover.unlink(missing_ok=True)


def _temporary_prefix(path: Path, owner: str) -> str:
    """Beginning of an output's temporary names: of limited length, as its own name may be as long as names can be."""
    return f".predictor-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-{owner}-"


def _resolved(location: Location) -> Path:
    return Path(location.path).resolve()


def _raise(error: OSError) -> None:
    raise error
