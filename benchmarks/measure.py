"""Measuring: a server is started, loaded row by row, and ended, before the next one's turn."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.documents import FIXED_SENTENCE
from benchmarks.endpoints import BatchCount, free_port, scores
from benchmarks.figures import Figures, InProcess, Row
from benchmarks.load import Load, run_load
from benchmarks.process import ROOT, ServerProcess, cpu_seconds, memory
from benchmarks.servers import TUNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.servers import Endpoint, Server

LONE_SPIN_US = 5000
"""With one connection the load generator polls: on a virtual machine a core that it let sleep would take 50 us and more
to wake for the answer, and that is not the server's time. Where a model takes milliseconds on all cores, it lacks the
core that polls: 0 there (Plan.lone_spin_us)."""

SCORE_TOLERANCE = 1e-4  # a share: our text lines have six significant digits


class MeasureError(RuntimeError):
    """A measurement cannot be made, or would not be of the same model."""


@dataclass(frozen=True)
class Plan:
    """What is measured in every round. Times are seconds for each row."""

    model: Path
    documents: dict[str, Path]
    connections: tuple[int, ...]
    seconds: float
    warmup: float
    logs: Path
    sentence: str = FIXED_SENTENCE  # what every server must answer as the model does before it is measured
    lone_spin_us: int = LONE_SPIN_US

    def rows_of(self, server: Server) -> int:
        """How many rows `server` has."""
        return len(server.endpoints) * len(self.documents) * len(self.connections)


@dataclass(frozen=True)
class ModelAlone:
    """The model's own scores of the fixed sentence, and its speed by name of the documents."""

    scores: dict[str, float]
    figures: dict[str, list[InProcess]]


@dataclass
class _Snapshots:
    """The server's counters when the measured time begins and when it ends."""

    read: Callable[[], tuple[float, BatchCount | None]]
    began: tuple[float, BatchCount | None] = (0.0, None)
    ended: tuple[float, BatchCount | None] = (0.0, None)

    def begin(self) -> None:
        self.began = self.read()

    def end(self) -> None:
        self.ended = self.read()

    def cpu_s(self) -> float:
        return self.ended[0] - self.began[0]

    def mean_batch(self) -> float | None:
        first, last = self.began[1], self.ended[1]
        if first is None or last is None or last.batches == first.batches:
            return None
        return (last.documents - first.documents) / (last.batches - first.batches)


def measure_server(server: Server, plan: Plan, expected: dict[str, float]) -> Iterator[tuple[Row, Figures]]:
    """Start `server`, measure its rows, end it. `expected` are the model's own scores of the plan's sentence."""
    ports = [free_port() for _ in range(server.ports)]
    command = server.command(plan.model, ports)
    log = plan.logs / f"{server.name}.log"
    with ServerProcess(server.name, command, server.environment(plan.model), log) as process:
        for endpoint in server.endpoints:
            process.wait_ready(partial(_is_ready, endpoint, ports[endpoint.port], plan.sentence, expected))
        for endpoint in server.endpoints:
            for documents in plan.documents:
                for connections in plan.connections:
                    row = Row(endpoint.label, documents, connections)
                    yield row, measure_row(server, endpoint, row, plan, ports, process.pid)


def _is_ready(endpoint: Endpoint, port: int, sentence: str, expected: dict[str, float]) -> bool:
    """Whether the endpoint answers. Raises MeasureError when its scores are not the model's."""
    answer = scores(endpoint.protocol, port, endpoint.path, sentence, endpoint.method)
    if answer is None:
        return False
    same = answer.keys() == expected.keys()
    if not same or not all(
        math.isclose(answer[label], score, rel_tol=SCORE_TOLERANCE) for label, score in expected.items()
    ):
        raise MeasureError(f"{endpoint.label} gives other scores than the model: {answer} instead of {expected}")
    return True


def measure_row(server: Server, endpoint: Endpoint, row: Row, plan: Plan, ports: list[int], pid: int) -> Figures:
    """Load one endpoint of a server that is ready."""

    def read() -> tuple[float, BatchCount | None]:
        return cpu_seconds(pid), server.batches(ports[0]) if server.batches else None

    snapshots = _Snapshots(read)
    load = Load(
        port=ports[endpoint.port],
        protocol=endpoint.protocol,
        path=endpoint.path,
        method=endpoint.method,
        field=endpoint.field,
        documents=plan.documents[row.documents],
        connections=row.connections,
        seconds=plan.seconds,
        warmup=plan.warmup,
        spin_us=plan.lone_spin_us if row.connections == 1 else 0,
    )
    result = run_load(load, snapshots.begin, snapshots.end)
    held = memory(pid)
    return Figures(
        rps=result.rps,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        cpu_us=snapshots.cpu_s() / max(result.requests, 1) * 1e6,
        rss_mib=held.rss,
        pss_mib=held.pss,
        mean_batch=snapshots.mean_batch(),
        errors=result.errors + result.overloaded,
        load_cpu_us=result.cpu_us_per_request,
    )


def measure_model(plan: Plan) -> ModelAlone:
    """The model without a server, in a process of its own."""
    figures = {}
    for name, path in plan.documents.items():
        options = ("--documents", str(path), "--seconds", f"{plan.seconds / 3:.2f}")
        command = [sys.executable, "-m", "benchmarks.inprocess", str(plan.model), *options]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **TUNED}, cwd=ROOT)
        if done.returncode != 0:
            raise MeasureError(f"the model alone cannot be measured:\n{done.stderr[-4000:]}")
        output = json.loads(done.stdout)
        figures[name] = [InProcess(**figure) for figure in output["figures"]]
    return ModelAlone(output["scores"], figures)
