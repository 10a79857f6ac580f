"""What runs in the worker processes of a Ray cluster: it predicts a chunk of lines."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.batch.methods.local_executors import LocalExecutors
from server.batch.methods.local_models import load_models
from server.batch.pipeline.executor import in_order
from server.batch.pipeline.lines import Chunk
from server.batch.state.control import Control
from server.batch.state.errors import JobError
from server.batch.storage.access import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.batch.pipeline.local_executor import LocalExecutor
    from server.batch.state.job import JobRequest
    from server.config import Settings


@dataclass(frozen=True, slots=True)
class Task:
    """What is the same for all chunks of a job. `token` tells one such from another."""

    token: str
    settings: Settings
    request: JobRequest
    scratch: Path | None
    """Folder for temporary copies of models; default: the system's."""


@dataclass(frozen=True, slots=True)
class FlatChunk:
    """A chunk in few objects: that is quicker to send."""

    numbers: list[int] | None
    """None: they follow each other."""
    first: int
    text: bytes
    """Separated by newlines."""
    too_long: list[int]
    """Places of lines that are longer than allowed; they are blank in `text`."""
    size: int

    @staticmethod
    def of(chunk: Chunk) -> FlatChunk:
        """As it is sent."""
        numbers, first = chunk.numbers, chunk.numbers[0]
        text = b"\n".join([text or b"" for text in chunk.texts])
        too_long = [place for place, line in enumerate(chunk.texts) if line is None]
        follow = numbers[-1] - first == len(numbers) - 1
        return FlatChunk(None if follow else numbers, first, text, too_long, chunk.size)

    def chunk(self) -> Chunk:
        """As it was."""
        texts: list[bytes | None] = list(self.text.split(b"\n"))
        for place in self.too_long:
            texts[place] = None
        return Chunk(self.numbers or list(range(self.first, self.first + len(texts))), texts, self.size)


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk's results."""

    output: bytes
    rows: int
    errors: list[tuple[int, int, str]]
    """(line number, ErrorCode, message)"""
    seconds: float
    """What it took, the loading of the model aside."""
    pid: int
    loading_s: float | None
    """What the loading took, where this was the process's first chunk."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot go on: what a JobError of this process says."""

    stage: int
    reason: str


def predict(task: Task, flat: FlatChunk) -> Done | Failed:
    """The results of a chunk's lines."""
    try:
        started = time.perf_counter()
        loads = _Opened.token != task.token
        executor = _Opened.executor_for(task)
        loading_s = time.perf_counter() - started if loads else None
        started = time.perf_counter()
        output: list[bytes] = []
        rows, errors = 0, []
        for result in in_order(executor, _pieces(flat.chunk(), executor), Control()):
            output.append(result.output)
            rows += result.rows
            errors += [(number, error.code, error.message) for number, error in result.errors]
        return Done(b"".join(output), rows, errors, time.perf_counter() - started, os.getpid(), loading_s)
    except JobError as error:
        return Failed(error.stage, error.reason)


class _Opened:
    """What this process is ready for: it does one job after the other, and each loads its model once."""

    token = ""
    executor: LocalExecutor
    exits = contextlib.ExitStack()

    @classmethod
    def executor_for(cls, task: Task) -> LocalExecutor:
        """Raises JobError."""
        if cls.token != task.token:
            cls.exits.close()
            cls.token = ""
            models = cls.exits.enter_context(load_models(task.settings))
            executors = LocalExecutors(models, Storage.without_limits(task.scratch), task.settings)
            cls.executor = cls.exits.enter_context(executors.open(task.request, Control()))
            cls.token = task.token
        return cls.executor


def _pieces(chunk: Chunk, executor: LocalExecutor) -> Iterator[Chunk]:
    """The same lines in chunks of the size that is best for the method and its results."""
    start = 0
    while start < len(chunk.numbers):
        rows = executor.rows
        texts = chunk.texts[start : start + rows]
        yield Chunk(chunk.numbers[start : start + rows], texts, sum(len(text) for text in texts if text is not None))
        start += rows
