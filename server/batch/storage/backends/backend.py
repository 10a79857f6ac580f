"""What every kind of storage offers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.batch.storage.locations import Location

READ_BYTES = 1 << 20  # what is read from a backend's file at a time
BLOCK_BYTES = 8 << 20  # what is read from an object store at a time; S3 wants at least 5 MiB in a part, GCS n * 256 KiB


class Output(Protocol):
    """A file that appears when it is committed, whole."""

    def write(self, data: bytes) -> None:
        """Append bytes. Raises StorageError."""

    def commit(self) -> None:
        """Let the file appear under its name, in place of one that may be there. Raises StorageError."""


class Uncommitted(Protocol):
    """An Output as a backend gives it, with the backend's own errors."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> None: ...

    def discard(self) -> None:
        """Leave nothing behind. Raises nothing that matters."""


class Backend(Protocol):
    """One kind of storage, with its own errors (`as_storage_errors` makes them StorageErrors).

    It is made with the AllowedLocations, for links and redirections that lead elsewhere.
    """

    def list_below(self, location: Location) -> list[tuple[str, int]]:
        """Relative path and size in bytes of every file below a folder."""

    def size(self, location: Location) -> int | None:
        """Bytes of a file; None when the backend does not say. Raises FileNotFoundError."""

    def open(self, location: Location) -> Any:
        """A binary file with readinto, close, and where it can seek, seek and tell."""

    def create(self, location: Location, owner: str, on_upload: Callable[[str], None]) -> Uncommitted:
        """A file that is not there until it is committed.

        `on_upload` is called with the id of an upload that the store would otherwise keep for good.
        """

    def delete_leftovers(self, location: Location, owner: str, upload: str | None) -> None:
        """Delete what an output of this name and owner left behind when its process was killed, and nobody else's."""


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
        size = min(BLOCK_BYTES, self._size - self._place)
        if size <= 0:
            return b""
        block = self._fetch(self._place, self._place + size)
        if len(block) != size:
            raise EOFError(f"{len(block)} bytes came of {size} at byte {self._place}")
        return block
