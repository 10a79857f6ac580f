"""Chunks of lines as tasks of a Ray cluster; reading, order, outputs and the store stay here.

A task that is lost with its worker is started again elsewhere, so a lost worker costs its chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import BatchStage

from server.batch.pipeline.executor import ChunkResult
from server.batch.ray import worker
from server.batch.ray.worker import Done, FlatChunk
from server.batch.state.errors import JobError, RowError

if TYPE_CHECKING:
    from server.batch.pipeline.lines import Chunk, LineLimit
    from server.batch.ray.worker import Task
    from server.batch.state.control import Control

_TASK_S = 2.0  # short enough to lose, long enough for Ray's millisecond of each task not to count
_RESULT_BYTES = 16 << 20  # of a task
_FIRST_ROWS = 16
_MAX_ROWS = 65_536
_TASKS_PER_WORKER = 2  # one is done, one is there when it is
_TRIES = 4
_POLL_S = 0.05

log = structlog.get_logger()


class RayExecutor:
    """An Executor whose chunks are tasks. How many lines a chunk has follows from how long the last ones took, and from
    the size of their results."""

    chunk_bytes = 4 << 20

    def __init__(self, ray: Any, task: Task, line_limit: LineLimit, workers: int, cores: int) -> None:
        self.rows = _FIRST_ROWS
        self.line_limit = line_limit
        self.bytes_ahead = _TASKS_PER_WORKER * workers * self.chunk_bytes
        self.ray = ray
        self._ahead = _TASKS_PER_WORKER * workers
        self._task = ray.put(task)
        self._predict = ray.remote(num_cpus=cores, max_retries=0)(worker.predict)

    @property
    def rows_ahead(self) -> int:
        """Enough for all workers."""
        return self._ahead * self.rows

    def submit(self, chunk: Chunk) -> RayChunk:
        """A task for the chunk."""
        return RayChunk(self, FlatChunk.of(chunk))

    def start_task(self, chunk: Any) -> Any:
        """A reference to the task's result, by a reference to its FlatChunk."""
        return self._predict.remote(self._task, chunk)

    def learn(self, done: Done) -> None:
        """Adapt to how long a task took."""
        if done.loading_s is not None:
            log.info("worker ready", pid=done.pid, seconds=round(done.loading_s, 3))
        quick = int(done.rows * _TASK_S / max(done.seconds, 1e-3))
        small = _RESULT_BYTES * done.rows // max(1, len(done.output))
        self.rows = max(1, min(_MAX_ROWS, quick, small))


class RayChunk:
    """A task, which is started again when it is lost with its worker."""

    def __init__(self, executor: RayExecutor, chunk: FlatChunk) -> None:
        self._executor = executor
        self._lines = f"lines from {chunk.first} on"
        self._chunk = executor.ray.put(chunk)  # once, however often it is tried
        self._result = executor.start_task(self._chunk)
        self._tries = 1

    def wait(self, control: Control) -> ChunkResult:
        """The task's result. Raises JobError, StoppedError."""
        ray = self._executor.ray
        while True:
            while not ray.wait([self._result], timeout=_POLL_S)[0]:
                control.check()
            try:
                done = ray.get(self._result)
                break
            except ray.exceptions.RayTaskError as error:
                raise JobError(BatchStage.PREDICTIONS, f"{self._lines}: {error}") from None
            except ray.exceptions.RayError as error:
                self._try_again(error)
        if not isinstance(done, Done):
            raise JobError(done.stage, done.reason)
        self._executor.learn(done)
        return ChunkResult(
            done.output, done.rows, [(number, RowError(code, message)) for number, code, message in done.errors]
        )

    def cancel(self) -> None:
        """End the task, in whatever way."""
        self._executor.ray.cancel(self._result, force=True)

    def _try_again(self, error: Exception) -> None:
        why = str(error).strip().partition("\n")[0]
        if self._tries == _TRIES:
            reason = f"{self._lines}: lost with its worker {_TRIES} times: {why}"
            raise JobError(BatchStage.PREDICTIONS, reason)
        log.warning("a worker was lost; its lines go to another one", lines=self._lines, why=why)
        self._tries += 1
        self._result = self._executor.start_task(self._chunk)
