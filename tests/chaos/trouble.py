"""What happens to the server meanwhile: children are killed, models loaded anew, and a job runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.ttypes import BatchRequest, BatchState, PredictionError

from tests.chaos.clients import are_close
from tests.chaos.models import RELOADED
from tests.chaos.questions import TEXTS
from tests.support.service import child_pids

if TYPE_CHECKING:
    from random import Random

    from tests.support.service import Service

JOB_LINES = 3000

_LET_LIVE_S = 4
_OLD_ONES = 0.8
"""So often only children are killed that have lived so long: of a proxy that is killed whenever it has started again,
on a busy machine, nobody would get an answer."""


class Trouble:
    """Of one server; `models` by their names, `folder` for jobs."""

    def __init__(self, service: Service, models: dict[str, Path], folder: Path, rng: Random) -> None:
        self._service = service
        self._models = models
        self._folder = folder
        self._rng = rng
        self._jobs = 0
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []

    async def until(self, over: asyncio.Event) -> None:
        """Make trouble until it is over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_children(over))
            group.create_task(self._load_models(over))
            group.create_task(self._run_jobs(over))

    async def _kill_children(self, over: asyncio.Event) -> None:
        while not await _is_set_after(over, self._rng.uniform(1, 4)):
            children = [pid for pid in child_pids(self._service.pid) if _lasts(pid)]
            if self._rng.random() < _OLD_ONES:
                children = [pid for pid in children if _age_s(pid) > _LET_LIVE_S]
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._rng.choice(children), signal.SIGKILL)
                    self.counts["children killed"] += 1

    async def _load_models(self, over: asyncio.Event) -> None:
        while not await _is_set_after(over, self._rng.uniform(0.1, 1)):
            name = self._rng.choice(RELOADED)
            try:
                await asyncio.to_thread(self._load, name)
                self.counts["models loaded anew"] += 1
            except PredictionError as error:
                self.complaints.append(f"load_model {name}: {error}")

    def _load(self, name: str) -> None:
        with self._service.client(timeout_s=120) as predictor:
            predictor.load_model(name, str(self._models[name]))

    async def _run_jobs(self, over: asyncio.Event) -> None:
        while not over.is_set():
            self._jobs += 1
            try:
                await asyncio.to_thread(self._run_job, self._jobs)
                self.counts["jobs run"] += 1
            except (PredictionError, AssertionError) as error:
                self.complaints.append(f"job {self._jobs}: {error}")

    def _run_job(self, number: int) -> None:
        """Each line has its answer, and it is the one that a call gives."""
        source, target = self._folder / f"in-{number}", self._folder / f"out-{number}"
        source.mkdir()
        lines = [{"doc": TEXTS[index % len(TEXTS)]} for index in range(JOB_LINES)]
        (source / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with self._service.client(timeout_s=120) as predictor:
            scores = [predictor.predict(text, None) for text in TEXTS]
            request = BatchRequest("predict", None, f"{source}/", str(target))
            job = predictor.submit_batch(request)
            while job.state in (BatchState.QUEUED, BatchState.RUNNING):
                job = predictor.get_batch(job.id)
        assert job.state == BatchState.COMPLETED, job.error
        found = [json.loads(line) for path in sorted(target.rglob("*.jsonl")) for line in path.read_text().splitlines()]
        assert len(found) == JOB_LINES, f"{len(found)} lines came of {JOB_LINES}"
        for index, line in enumerate(found):
            assert are_close(line["scores"], scores[index % len(TEXTS)]), f"line {index}: {line}"


def _age_s(pid: int) -> float:
    """Of a process; 0 when it is gone."""
    with contextlib.suppress(OSError):
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])  # see proc_pid_stat(5)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    return 0.0


def _lasts(pid: int) -> bool:
    """Whether it renders chats, or is the proxy: who kills one that tries a model has the model refused, and rightly.

    Before a process is any of these, it has the server's own command for a moment.
    """
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"server.models.chat.worker" in command or b"rest_proxy" in command
    return False  # it is gone


async def _is_set_after(over: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
    return over.is_set()
