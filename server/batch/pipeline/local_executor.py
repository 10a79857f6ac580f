"""Chunks of lines predicted by a method of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.batch.pipeline.executor import ChunkResult
from server.batch.pipeline.results import ResultWriter, errors_of
from server.batch.pipeline.rows import RowReader

if TYPE_CHECKING:
    from server.batch.pipeline.executor import PendingChunk
    from server.batch.pipeline.lines import Chunk, LineLimit
    from server.batch.pipeline.method import Method, PendingResults
    from server.batch.pipeline.rows import Rows
    from server.batch.state.control import Control


class LocalExecutor:
    """An Executor with a Method."""

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

    def submit(self, chunk: Chunk) -> PendingChunk:
        """Read the lines and submit their instances."""
        rows = self._reader.read(chunk)
        return _LocalChunk(rows, self._method.submit(rows.instances), self._writer)


class _LocalChunk:
    def __init__(self, rows: Rows, pending: PendingResults, writer: ResultWriter) -> None:
        self._rows = rows
        self._pending = pending
        self._writer = writer

    def wait(self, control: Control) -> ChunkResult:
        """Write the results."""
        rows = self._rows
        results = self._pending.wait(control)
        return ChunkResult(self._writer.lines(rows, results), len(rows.numbers), errors_of(rows, results))

    def cancel(self) -> None:
        """Take what still waits out of the queue."""
        self._pending.cancel()
