"""Reading and writing at the locations that people give.

All calls block; a Storage may be used by many threads at once. Its errors are LocationError (the location is malformed
or not allowed) and StorageError (reading or writing failed).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from server.batch.storage.backends.backend import READ_BYTES, Output
from server.batch.storage.backends.local import LocalBackend
from server.batch.storage.errors import LocationError, StorageError, as_storage_errors
from server.batch.storage.local_copies import LocalCopies
from server.batch.storage.locations import InputFile, Location, parse
from server.batch.storage.permissions import AllowedLocations
from server.batch.storage.schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from server.batch.storage.backends.backend import Backend, Uncommitted
    from server.batch.storage.own_files import OwnFile

_LOCAL = ""


def _no_check() -> None:
    """Nothing ends the reading."""


def _no_note(_upload: str) -> None:
    """Nobody remembers the upload."""


class Storage:
    """The locations that `roots` (local folders), `schemes` and `buckets` ('gs://bucket', 's3://bucket/folder') allow.

    `scratch` is the folder for temporary copies; default: the system's. `own` files are for nobody's use, and without
    `any_address` web servers that only a whole scheme allows must have addresses that the whole internet reaches.
    """

    def __init__(
        self,
        roots: Sequence[Path] = (),
        schemes: Sequence[str] = (),
        buckets: Sequence[str] = (),
        scratch: Path | None = None,
        own: Sequence[OwnFile] = (),
        *,
        any_address: bool = False,
    ) -> None:
        """Raises LocationError."""
        self._allowed = AllowedLocations(roots, schemes, buckets, own, any_address=any_address)
        self._copies = LocalCopies(scratch)
        self._backends: dict[str, Backend] = {_LOCAL: LocalBackend(self._allowed)}
        self._lock = threading.Lock()

    @classmethod
    def without_limits(cls, scratch: Path | None = None, own: Sequence[OwnFile] = ()) -> Self:
        """For the command line, whose user may use what the user may use."""
        return cls([Path("/")], list(SCHEMES), (), scratch, own, any_address=True)

    def check(self, location: str, purpose: Literal["read", "write"]) -> None:
        """Raises LocationError where the location is malformed or not allowed. Only links are looked up."""
        self._allowed.check(parse(location), purpose)

    def list_inputs(self, location: str) -> list[InputFile]:
        """The file, or where the location ends in '/', every file below it, sorted by relative path.

        Names that begin with a dot, and what is in folders with such names, are left out.
        """
        return self._list(location, hidden=False)

    def open_input(self, location: str, check: Callable[[], None] = _no_check) -> BinaryIO:
        """The file's bytes, buffered; seekable except for http servers that give no ranges.

        `check` is called before more of it is read, and may raise what ends that.
        """
        checked = self._checked(location, "read")
        with as_storage_errors("read", location):
            file = self._backend(checked).open(checked)
        return io.BufferedReader(_CheckedInput(file, location, check), READ_BYTES)

    @contextlib.contextmanager
    def create(self, location: str, owner: str = "", on_upload: Callable[[str], None] = _no_note) -> Iterator[Output]:
        """A file that appears when its `commit` is called; else nothing does, whatever happens.

        delete_leftovers finds what a killed process leaves by its `owner` and by the id of its upload, which
        `on_upload` is called with where there is one.
        """
        checked = self._checked(location, "write")
        if checked.is_folder:
            raise LocationError(f"{location!r} names no file to write")
        with as_storage_errors("written", location):
            uncommitted = self._backend(checked).create(checked, owner, on_upload)
        output = _CheckedOutput(uncommitted, location)
        try:
            yield output
        finally:
            if not output.committed:
                uncommitted.discard()

    def exists(self, location: str) -> bool:
        """Whether there is a file."""
        try:
            self.size(location)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        return True

    def size(self, location: str) -> int | None:
        """The file's bytes, None when its server does not say."""
        checked = self._checked(location, "read")
        with as_storage_errors("read", location):
            return self._backend(checked).size(checked)

    def delete_leftovers(self, location: str, owner: str = "", upload: str | None = None) -> None:
        """Delete what this owner's output left when its process was killed, and nobody else's."""
        checked = self._checked(location, "write")
        with as_storage_errors("cleared of leftovers", location):
            self._backend(checked).delete_leftovers(checked, owner, upload)

    @contextlib.contextmanager
    def local_copy(self, location: str, check: Callable[[], None] = _no_check) -> Iterator[Path]:
        """A folder's local path: a local folder itself, else a temporary copy that is deleted at the end.

        `check` is called while it is copied, and may raise what ends that.
        """
        checked = self._checked(f"{location.rstrip('/')}/", "read")
        if checked.scheme:
            files = self._list(checked.text, hidden=True)
            with self._copies.copy(location, files, lambda file: self.open_input(file, check)) as copy:
                yield copy
            return
        folder = Path(checked.path).resolve()
        if not folder.is_dir():
            raise StorageError(f"{location} is no folder")
        yield folder

    def delete_copies(self) -> None:
        """Delete the temporary copies in the folder `scratch` that killed processes left. Nobody may be using them."""
        self._copies.delete_leftovers()

    def _list(self, location: str, *, hidden: bool) -> list[InputFile]:
        checked = self._checked(location, "read")
        backend = self._backend(checked)
        if not checked.is_folder:
            with as_storage_errors("read", location):
                return [InputFile(location, checked.name, backend.size(checked))]
        with as_storage_errors("listed", location):
            found = sorted(backend.list_below(checked))
        files = []
        for relative, size in found:
            if hidden or "/." not in f"/{relative}":
                parse(f"{location}{relative}")  # names in a bucket may be anything, '../..' too
                files.append(InputFile(f"{location}{relative}", relative, size))
        if not files:
            raise StorageError(f"{location} has no files below it")
        return files

    def _checked(self, text: str, purpose: Literal["read", "write"]) -> Location:
        location = parse(text)
        self._allowed.check(location, purpose)
        return location

    def _backend(self, location: Location) -> Backend:
        name = SCHEMES[location.scheme].backend if location.scheme else _LOCAL
        with self._lock:
            if name not in self._backends:
                module, _, backend = name.partition(":")
                found = importlib.import_module(f"server.batch.storage.backends.{module}")
                self._backends[name] = getattr(found, backend)(self._allowed)
            return self._backends[name]


class _CheckedInput(io.RawIOBase):
    """A backend's file for a BufferedReader, whose errors are StorageErrors. `check` is called before it is read."""

    def __init__(self, file: Any, location: str, check: Callable[[], None]) -> None:
        self._file = file
        self._location = location
        self._check = check

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        self._check()
        with as_storage_errors("read", self._location):
            return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with as_storage_errors("read", self._location):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _CheckedOutput:
    """An Output with StorageErrors, that refuses to commit twice or after a failure."""

    def __init__(self, uncommitted: Uncommitted, location: str) -> None:
        self._uncommitted = uncommitted
        self._location = location
        self._failed = False
        self.committed = False

    def write(self, data: bytes) -> None:
        with self._checked():
            self._uncommitted.write(data)

    def commit(self) -> None:
        with self._checked():
            self._uncommitted.commit()
        self.committed = True

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        if self._failed or self.committed:
            raise StorageError(f"{self._location} cannot be written any more")
        self._failed = True
        with as_storage_errors("written", self._location):
            yield
        self._failed = False
