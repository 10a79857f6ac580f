"""Chunks in progress, in order."""

from __future__ import annotations

import pytest

from server.batch.pipeline.executor import ChunkResult, in_order
from server.batch.pipeline.lines import Chunk, LineLimit
from server.batch.state.control import Control
from server.batch.state.errors import StoppedError


class Pending:
    def __init__(self, executor: Executor, number: int) -> None:
        self._executor = executor
        self._number = number

    def wait(self, _control: Control) -> ChunkResult:
        if self._number == self._executor.stops_at:
            raise StoppedError
        return ChunkResult(b"%d" % self._number, 1, [])

    def cancel(self) -> None:
        self._executor.cancelled.append(self._number)
        if self._number == self._executor.not_cancelled:
            raise OSError("cannot be cancelled")


class Executor:
    """Three chunks are on their way at a time; the wait for one of them is stopped."""

    rows, rows_ahead, chunk_bytes, bytes_ahead = 1, 3, 10, 100
    line_limit = LineLimit(10, "a_setting")

    def __init__(self, stops_at: int, not_cancelled: int | None = None) -> None:
        self.stops_at = stops_at
        self.not_cancelled = not_cancelled
        self.cancelled: list[int] = []

    def submit(self, chunk: Chunk) -> Pending:
        return Pending(self, chunk.numbers[0])


def results(executor: Executor) -> list[bytes]:
    return [result.output for result in in_order(executor, (Chunk([n], [b"1"], 1) for n in range(9)), Control())]


def test_all_results_come_in_order() -> None:
    executor = Executor(stops_at=9)
    assert results(executor) == [b"%d" % n for n in range(9)]
    assert executor.cancelled == []


@pytest.mark.parametrize(("stops_at", "cancelled"), [(0, [0, 1, 2]), (4, [4, 5, 6]), (8, [8])])
def test_what_is_waited_for_is_cancelled_too(stops_at: int, cancelled: list[int]) -> None:
    executor = Executor(stops_at)
    with pytest.raises(StoppedError):
        results(executor)
    assert sorted(executor.cancelled) == cancelled


def test_one_that_cannot_be_cancelled_leaves_out_no_other() -> None:
    executor = Executor(stops_at=4, not_cancelled=5)
    with pytest.raises(OSError, match="cannot be cancelled"):
        results(executor)
    assert sorted(executor.cancelled) == [4, 5, 6]
