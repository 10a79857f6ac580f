"""Chunks of lines predicted by a method of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.batch.pipeline.executor import ChunkResult
from server.batch.pipeline.results import ResultWriter, errors_of
from server.batch.pipeline.rows import RowReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.batch.pipeline.executor import PendingChunk
    from server.batch.pipeline.lines import Chunk, LineLimit
    from server.batch.pipeline.method import Method, PendingResults, Result
    from server.batch.pipeline.rows import Rows
    from server.batch.state.control import Control


_RESULT_BYTES_AHEAD = 64 << 20
_FIRST_ROWS_AHEAD = 16
_GROWTH = 4  # of rows_ahead at most, with each chunk
_CHUNKS_AHEAD = 4  # at least, where results are large


class LocalExecutor:
    """An Executor with a Method.

    As many lines are in progress as the method says, and no more than have 64 MiB of results by those that came last:
    a line of a few bytes may have an image's.
    """

    chunk_bytes = 1 << 20
    bytes_ahead = 4 << 20

    def __init__(self, method: Method, key_field: str | None, line_limit: LineLimit) -> None:
        self._row_bytes = max(1, method.result_bytes)
        self._rows_tried = _FIRST_ROWS_AHEAD
        self.line_limit = line_limit
        self._method = method
        takes_key_out = key_field is not None and method.bare
        self._reader = RowReader(
            method.instance, key_field, line_limit, exact=method.exact, takes_key_out=takes_key_out
        )
        self._writer = ResultWriter(bare=method.bare)

    @property
    def rows(self) -> int:
        """Lines that a chunk should have."""
        return max(1, min(self._method.rows, self.rows_ahead // _CHUNKS_AHEAD))

    @property
    def rows_ahead(self) -> int:
        """Lines that should be in progress at a time."""
        return max(1, min(self._method.rows_ahead, self._rows_tried, _RESULT_BYTES_AHEAD // self._row_bytes))

    def submit(self, chunk: Chunk) -> PendingChunk:
        """Read the lines and submit their instances."""
        rows = self._reader.read(chunk)
        return _LocalChunk(rows, self._method.submit(rows.instances), self)

    def lines(self, rows: Rows, results: Sequence[Result]) -> bytes:
        """The results' lines, by whose size the executor learns how many it may have in progress."""
        output = self._writer.lines(rows, results)
        self._row_bytes = max(1, len(output) // len(rows.numbers), self._row_bytes * 7 // 8)
        self._rows_tried = min(self._rows_tried * _GROWTH, self._method.rows_ahead)
        return output


class _LocalChunk:
    def __init__(self, rows: Rows, pending: PendingResults, executor: LocalExecutor) -> None:
        self._rows = rows
        self._pending = pending
        self._executor = executor

    def wait(self, control: Control) -> ChunkResult:
        """Write the results."""
        rows = self._rows
        results = self._pending.wait(control)
        return ChunkResult(self._executor.lines(rows, results), len(rows.numbers), errors_of(rows, results))

    def cancel(self) -> None:
        """Take what still waits out of the queue."""
        self._pending.cancel()
