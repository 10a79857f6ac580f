"""The lines of a file, some hundred at a time."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from server.batch.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK_BYTES = 1 << 16  # splitting one takes a tenth of a millisecond, in which no other thread can run
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Chunk:
    """Lines of a file that follow each other, blank ones left out."""

    numbers: list[int]
    """Their places in the file, from 1."""
    texts: list[bytes | None]
    """Without the newline; None for a line that is longer than allowed."""
    size: int
    """Bytes of all texts."""


@dataclass(frozen=True, slots=True)
class LineLimit:
    """How long a line may be."""

    size: int
    """Bytes."""
    setting: str
    """The name of the setting that says so."""


class ChunkSize(Protocol):
    """How large a chunk may be."""

    chunk_bytes: int
    """Bytes at most, one longer line excepted."""
    line_limit: LineLimit

    @property
    def rows(self) -> int:
        """Lines at most; it may change."""


class LineReader:
    """Cuts a file into chunks of lines, whatever its length.

    `on_block` is called for each block that is read: many of them may have no line that counts. It may raise.
    """

    def __init__(self, size: ChunkSize, on_block: Callable[[], None]) -> None:
        self._size = size
        self._on_block = on_block
        self._line_bytes = size.line_limit.size

    def read(self, file: BinaryIO, location: str, *, gzipped: bool = False) -> Iterator[Chunk]:
        """All lines of the file. Raises StorageError that names the location."""
        chunk = Chunk([], [], 0)
        content: BinaryIO = gzip.GzipFile(fileobj=file) if gzipped else file  # type: ignore[assignment]
        for number, text in self._numbered(content, location):
            chunk.numbers.append(number)
            chunk.texts.append(text)
            chunk.size += len(text) if text is not None else 0
            if len(chunk.texts) >= self._size.rows or chunk.size >= self._size.chunk_bytes:
                yield chunk
                chunk = Chunk([], [], 0)
        if chunk.texts:
            yield chunk

    def _numbered(self, file: BinaryIO, location: str) -> Iterator[tuple[int, bytes | None]]:
        """(number, text) of each line that is not blank."""
        number = 0
        for block in self._blocks(file, location):
            for text in block:
                number += 1
                if text is None or (text and not text.isspace()):
                    yield number, text

    def _blocks(self, file: BinaryIO, location: str) -> Iterator[list[bytes | None]]:
        """The lines that end in each block of the file; the last one may lack its newline."""
        started: list[bytes] = []  # the parts of a line that has not ended yet
        size = 0
        for block in _blocks_of(file, location):
            self._on_block()
            first, *others = block.split(b"\n")
            started.append(first)
            size += len(first)
            if size > self._line_bytes:
                started.clear()  # of a line that is too long only its length is kept
            if others:
                lines: list[bytes | None] = [b"".join(started) if size <= self._line_bytes else None]
                started = [others.pop()]
                size = len(started[0])
                yield lines + [line if len(line) <= self._line_bytes else None for line in others]
        yield [b"".join(started) if size <= self._line_bytes else None]


def _blocks_of(file: BinaryIO, location: str) -> Iterator[bytes]:
    try:
        first = file.read(_BLOCK_BYTES)
        yield first.removeprefix(_BYTE_ORDER_MARK)
        while block := file.read(_BLOCK_BYTES):
            yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StorageError(f"{location} cannot be unpacked: {error}") from None
