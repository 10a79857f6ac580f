"""What runs in the worker processes of a Ray cluster: a chunk of lines to a part of the output."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.batch.methods.local_models import loaded
from server.batch.methods.methods import Methods
from server.batch.pipeline.lines import Lines
from server.batch.pipeline.parts import in_order
from server.batch.state.control import Control
from server.batch.state.job import JobError
from server.batch.storage.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.batch.pipeline.parts import LocalWork
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
class Block:
    """Lines, in few objects: that is quicker to send."""

    numbers: list[int] | None
    """None: they follow each other."""
    first: int
    text: bytes
    """Parted by newlines."""
    too_long: list[int]
    """Places of lines that are longer than allowed; they are blank in `text`."""
    size: int

    @staticmethod
    def of(lines: Lines) -> Block:
        """As it is sent."""
        numbers, first = lines.numbers, lines.numbers[0]
        text = b"\n".join([text or b"" for text in lines.texts])
        too_long = [place for place, line in enumerate(lines.texts) if line is None]
        follow = numbers[-1] - first == len(numbers) - 1
        return Block(None if follow else numbers, first, text, too_long, lines.size)

    def lines(self) -> Lines:
        """As it was."""
        texts: list[bytes | None] = list(self.text.split(b"\n"))
        for place in self.too_long:
            texts[place] = None
        return Lines(self.numbers or list(range(self.first, self.first + len(texts))), texts, self.size)


@dataclass(frozen=True, slots=True)
class Done:
    """A block's results."""

    output: bytes
    rows: int
    errors: list[tuple[int, int, str]]
    """(line number, ErrorCode, message)"""
    seconds: float
    """What it took, the loading of the model aside."""
    pid: int
    loading_s: float | None
    """What the loading took, where this was the process's first block."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot go on."""

    message: str


def predict(task: Task, block: Block) -> Done | Failed:
    """The results of a block's lines."""
    try:
        began = time.perf_counter()
        loads = _Opened.token != task.token
        work = _Opened.work_for(task)
        loading_s = time.perf_counter() - began if loads else None
        began = time.perf_counter()
        output: list[bytes] = []
        rows, errors = 0, []
        for part in in_order(work, _pieces(block.lines(), work.rows), Control()):
            output.append(part.output)
            rows += part.rows
            errors += [(number, error.code, error.message) for number, error in part.errors]
        return Done(b"".join(output), rows, errors, time.perf_counter() - began, os.getpid(), loading_s)
    except JobError as error:
        return Failed(str(error))


class _Opened:
    """The work that this process is ready for: it does one job after the other, and each loads its model once."""

    token = ""
    work: LocalWork
    exits = contextlib.ExitStack()

    @classmethod
    def work_for(cls, task: Task) -> LocalWork:
        """Raises JobError."""
        if cls.token != task.token:
            cls.exits.close()
            cls.token = ""
            models = cls.exits.enter_context(loaded(task.settings))
            storage = Storage.of_everything(task.scratch)
            methods = Methods(models, storage, task.settings)
            cls.work = cls.exits.enter_context(methods.open(task.request, Control()))
            cls.token = task.token
        return cls.work


def _pieces(lines: Lines, rows: int) -> Iterator[Lines]:
    """The same lines, so many at a time as are best for the method."""
    for start in range(0, len(lines.numbers), rows):
        texts = lines.texts[start : start + rows]
        yield Lines(lines.numbers[start : start + rows], texts, sum(len(text) for text in texts if text is not None))
