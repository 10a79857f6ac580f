"""Lines to parts of an output: several chunks of lines on their way, their results in the order of the lines."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from server.batch.pipeline.rows import ResultWriter, RowReader, errors_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from server.batch.methods.method import Answers, Method
    from server.batch.pipeline.lines import LineLimit, Lines
    from server.batch.pipeline.rows import Rows
    from server.batch.state.control import Control
    from server.batch.state.job import RowError


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of some lines."""

    output: bytes
    rows: int
    """Lines in it, those with an error included."""
    errors: list[tuple[int, RowError]]
    """(line number, error) in the order of the lines; each has an error object in the output."""


class Begun(Protocol):
    """A part on its way."""

    def wait(self, control: Control) -> Part:
        """The part. Raises JobError, StoppedError."""

    def abandon(self) -> None:
        """Nobody waits for it any more."""


class Work(Protocol):
    """What a job does with its lines, here or on other machines."""

    rows: int
    """Lines that are best given at a time; it may change."""
    chunk_bytes: int
    """Bytes that are best given at a time."""
    line_limit: LineLimit
    bytes_ahead: int
    """Bytes that may be on their way at a time."""

    @property
    def rows_ahead(self) -> int:
        """Lines that should be on their way at a time."""

    def start(self, lines: Lines) -> Begun:
        """Begin with some lines. Raises JobError."""


def in_order(work: Work, chunks: Iterable[Lines], control: Control) -> Generator[Part]:
    """The parts of all chunks: so many are on their way at a time as the work wants. Raises JobError, StoppedError."""
    ahead: deque[tuple[Lines, Begun]] = deque()
    try:
        for lines in chunks:
            control.check()
            while ahead and _is_full(work, ahead, lines):
                yield _first(ahead, control)
            ahead.append((lines, work.start(lines)))
        while ahead:
            yield _first(ahead, control)
    finally:
        with ExitStack() as abandoned:  # all of them, also where one fails to be
            for _, begun in ahead:
                abandoned.callback(begun.abandon)


def _first(ahead: deque[tuple[Lines, Begun]], control: Control) -> Part:
    """The part that comes next, which is on its way until it is there."""
    part = ahead[0][1].wait(control)
    ahead.popleft()
    return part


def _is_full(work: Work, ahead: deque[tuple[Lines, Begun]], new: Lines) -> bool:
    return (
        sum(len(lines.numbers) for lines, _ in ahead) >= work.rows_ahead
        or sum(lines.size for lines, _ in ahead) + new.size > work.bytes_ahead
    )


class LocalWork:
    """Work with a method of this process."""

    chunk_bytes = 1 << 20
    bytes_ahead = 4 << 20

    def __init__(self, method: Method, key_field: str | None, line_limit: LineLimit) -> None:
        self.rows, self.rows_ahead = method.rows, method.rows_ahead
        self.line_limit = line_limit
        self._method = method
        takes_key_out = key_field is not None and method.bare
        self._reader = RowReader(
            method.instance, key_field, line_limit, exact=method.exact, takes_key_out=takes_key_out
        )
        self._writer = ResultWriter(bare=method.bare)

    def start(self, lines: Lines) -> Begun:
        """Read the lines and submit their instances."""
        rows = self._reader.read(lines)
        return _LocalPart(rows, self._method.start(rows.instances), self._writer)


class _LocalPart:
    def __init__(self, rows: Rows, answers: Answers, writer: ResultWriter) -> None:
        self._rows = rows
        self._answers = answers
        self._writer = writer

    def wait(self, control: Control) -> Part:
        """Write the results."""
        rows = self._rows
        results = self._answers.wait(control)
        return Part(self._writer.lines(rows, results), len(rows.numbers), errors_of(rows, results))

    def abandon(self) -> None:
        """Take what still waits out of the queue."""
        self._answers.abandon()
