"""Memory is bounded by results, too."""

from __future__ import annotations

import io
from typing import Any

import pytest

from server.batch.pipeline.executor import in_order
from server.batch.pipeline.lines import LineLimit, LineReader
from server.batch.pipeline.local_executor import LocalExecutor
from server.batch.state.control import Control

MIB = 1 << 20
ROWS, ROWS_AHEAD = 256, 2048


class Sizes:
    """A line says how many bytes its result has; counts those that are made and not yet read."""

    rows, rows_ahead, bare, exact = ROWS, ROWS_AHEAD, True, False

    def __init__(self, result_bytes: int = 0) -> None:
        self.result_bytes = result_bytes
        self.in_progress = 0
        self.most = 0
        self.chunks: list[int] = []

    def instance(self, value: Any) -> Any:
        return value

    def submit(self, instances: list[int]) -> Pending:
        self.chunks.append(len(instances))
        self.in_progress += sum(instances)
        self.most = max(self.most, self.in_progress)
        return Pending(self, instances)


class Pending:
    def __init__(self, method: Sizes, sizes: list[int]) -> None:
        self._method = method
        self._sizes = sizes

    def wait(self, _control: Control) -> list[bytes]:
        self._method.in_progress -= sum(self._sizes)
        return [b"0" * size for size in self._sizes]

    def cancel(self) -> None:
        """Nothing waits."""


def run(method: Sizes, sizes: list[int]) -> None:
    """Predict a file with a line for each."""
    executor = LocalExecutor(method, None, LineLimit(100, "a_setting"))
    text = "".join(f"{size}\n" for size in sizes).encode()
    chunks = LineReader(executor, lambda: None).read(io.BytesIO(text), "here")
    assert sum(result.rows for result in in_order(executor, chunks, Control())) == len(sizes)


def test_small_results_have_as_many_lines_in_progress_as_the_method_says() -> None:
    method = Sizes()
    run(method, [100] * 20_000)
    assert max(method.chunks) == ROWS
    assert sorted(method.chunks)[len(method.chunks) // 4] == ROWS, "most of them"
    assert method.most >= 100 * (ROWS_AHEAD - ROWS)


@pytest.mark.parametrize("known", [0, 4 * MIB])
def test_large_results_have_few(known: int) -> None:
    method = Sizes(known)
    run(method, [8 * MIB] * 60)
    assert method.most <= (20 if not known else 17) * 8 * MIB, "the first ones, or 64 MiB and a chunk"
    assert method.chunks[-1] <= 2


def test_results_that_grow() -> None:
    method = Sizes()
    method.rows, method.rows_ahead = 16, 64
    run(method, [10] * 500 + [4 * MIB - 1] * 100)
    assert set(method.chunks[-4:-1]) == {4}, "64 MiB are 16 lines, and four chunks"


def test_lines_after_a_large_one_are_many_again() -> None:
    method = Sizes()
    run(method, [10] * 3000 + [64 * MIB] + [10] * 30_000)
    assert method.chunks[-2] == ROWS
