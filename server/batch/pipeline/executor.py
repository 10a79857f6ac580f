"""Chunks of lines to chunks of output: several are in progress at a time, and come out in the order of the lines."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from server.batch.pipeline.lines import Chunk, LineLimit
    from server.batch.state.control import Control
    from server.batch.state.errors import RowError


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What becomes of a chunk."""

    output: bytes
    """Its lines of the output."""
    rows: int
    """Lines in it, those with an error included."""
    errors: list[tuple[int, RowError]]
    """(line number, error) in the order of the lines; each has an error object in the output."""


class PendingChunk(Protocol):
    """A chunk in progress."""

    def wait(self, control: Control) -> ChunkResult:
        """Its result. Raises JobError, StoppedError."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class Executor(Protocol):
    """What turns a job's chunks into results, here or on other machines."""

    chunk_bytes: int
    """Bytes that a chunk should have."""
    line_limit: LineLimit
    bytes_ahead: int
    """Bytes that may be in progress at a time."""

    @property
    def rows(self) -> int:
        """Lines that a chunk should have; it may change."""

    @property
    def rows_ahead(self) -> int:
        """Lines that should be in progress at a time."""

    def submit(self, chunk: Chunk) -> PendingChunk:
        """Begin with a chunk. Raises JobError."""


def in_order(executor: Executor, chunks: Iterable[Chunk], control: Control) -> Generator[ChunkResult]:
    """The results of all chunks; as many are in progress at a time as the executor says.

    Raises JobError, StoppedError.
    """
    ahead: deque[tuple[Chunk, PendingChunk]] = deque()
    try:
        for chunk in chunks:
            control.check()
            while ahead and _is_full(executor, ahead, chunk):
                yield _first(ahead, control)
            ahead.append((chunk, executor.submit(chunk)))
        while ahead:
            yield _first(ahead, control)
    finally:
        with ExitStack() as cancelled:  # all of them, also where one fails to be
            for _, pending in ahead:
                cancelled.callback(pending.cancel)


def _first(ahead: deque[tuple[Chunk, PendingChunk]], control: Control) -> ChunkResult:
    """The result that comes next; its chunk is in progress until it is there."""
    result = ahead[0][1].wait(control)
    ahead.popleft()
    return result


def _is_full(executor: Executor, ahead: deque[tuple[Chunk, PendingChunk]], new: Chunk) -> bool:
    return (
        sum(len(chunk.numbers) for chunk, _ in ahead) >= executor.rows_ahead
        or sum(chunk.size for chunk, _ in ahead) + new.size > executor.bytes_ahead
    )
