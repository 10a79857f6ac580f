"""What every kind of storage offers, and what it raises."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from server.batch.state.job import StoppedError
from server.batch.storage.locations import LocationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.batch.storage.locations import Location

READ_BYTES = 1 << 20  # what is asked of a store's file at a time
BLOCK_BYTES = 8 << 20  # what is asked of an object store at a time; S3 wants at least 5 MiB in a part, GCS n * 256 KiB


class StorageError(Exception):
    """Input or output failed; the message says where and why."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read. `relative` is its path below the location that was listed; `size` in bytes, None if unknown."""

    location: str
    relative: str
    size: int | None


class Output(Protocol):
    """A file that appears when it is committed, whole."""

    def write(self, data: bytes) -> None:
        """Append bytes. Raises StorageError."""

    def commit(self) -> None:
        """Let the file appear under its name, in place of one that may be there. Raises StorageError."""


class Unfinished(Protocol):
    """An Output as a store gives it, with the store's own errors."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> None: ...

    def discard(self) -> None:
        """Leave nothing behind. Raises nothing that matters."""


class Store(Protocol):
    """One kind of storage, with its own errors (`reported` makes them StorageErrors)."""

    def below(self, location: Location) -> list[tuple[str, int]]:
        """Relative path and size in bytes of every file below a folder."""

    def size(self, location: Location) -> int | None:
        """Bytes of a file; None when the store does not say. Raises FileNotFoundError."""

    def open(self, location: Location) -> Any:
        """A binary file with readinto, close, and where it can seek, seek and tell."""

    def create(self, location: Location) -> Unfinished:
        """A file that is not there until it is committed."""

    def delete_leftovers(self, location: Location) -> None:
        """Delete what outputs of this name left behind when their process was killed."""


@contextlib.contextmanager
def reported(doing: str, location: str) -> Iterator[None]:
    """Any store's errors as StorageError. Every library has errors of its own, so all of them are meant."""
    try:
        yield
    except (StorageError, LocationError, StoppedError):
        raise
    except Exception as error:
        # fsspec says that a file is not found when it could not even ask; the cause is what people need
        reason = error if error.__cause__ is None else error.__cause__
        if isinstance(reason, LocationError):
            raise reason from None
        raise StorageError(f"{location} cannot be {doing}: {_plain(reason)}") from error


class RangeFile(io.RawIOBase):
    """A file of a known size that is read in blocks: `fetch(start, end)` gives these bytes of it.

    It has to give them of one and the same version, and raises where it cannot.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._place = 0
        self._block = b""
        self._block_start = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start = self._place - self._block_start
        if not 0 <= start < len(self._block):
            start, self._block_start = 0, self._place
            self._block = self._next_block()
        data = self._block[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def _next_block(self) -> bytes:
        wanted = min(BLOCK_BYTES, self._size - self._place)
        if wanted <= 0:
            return b""
        block = self._fetch(self._place, self._place + wanted)
        if len(block) != wanted:
            raise EOFError(f"{len(block)} bytes came of {wanted} at byte {self._place}")
        return block


def changed(location: str) -> StorageError:
    """Another version has taken a file's place."""
    return StorageError(f"{location} cannot be read: it has changed meanwhile")


class GuardedFile(io.RawIOBase):
    """A store's file for a BufferedReader, whose errors are StorageErrors. `check` is called before it is read."""

    def __init__(self, file: Any, location: str, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._location = location
        self._check = check

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        self._check()
        with reported("read", self._location):
            return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with reported("read", self._location):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return " ".join(str(error).split())[:500] or type(error).__name__
