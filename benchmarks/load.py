"""Building and running the load generator (benchmarks/loadgen), which is in C++ so that it is never the bottleneck."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from process.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = Path(__file__).parent / "loadgen"
BUILD = Path(__file__).parent.parent / "build"
COMPILE = ("g++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror")


class LoadError(RuntimeError):
    """The load generator could not be built or could not do its work; the message says why."""


@dataclass(frozen=True)
class Load:
    """One run of the load generator. Times are in seconds; `rate` is requests per second, 0 for the closed loop.

    For `spin_us` microseconds after a request the generator polls for the answer instead of sleeping.
    """

    port: int
    protocol: str
    documents: Path
    connections: int
    seconds: float
    warmup: float = 1.0
    path: str = "/"
    method: str = "predict"
    field: str = "doc"
    rate: float = 0.0
    spin_us: float = 0.0
    seed: int = 1

    def arguments(self) -> list[str]:
        """The command line's options."""
        return [text for name, value in vars(self).items() for text in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True)
class LoadResult:
    """What the load generator printed. Latencies are microseconds, of answered requests only."""

    requests: int
    errors: int
    overloaded: int
    lost: int
    unanswered: int
    seconds: float
    rps: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    cpu_us_per_request: float


def build_loadgen() -> Path:
    """The program's path; compiled when it is missing or older than a source."""
    program = BUILD / "loadgen"
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    with replacing(program) as made:
        command = [*COMPILE, "-o", str(made), str(SOURCES / "main.cc")]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise LoadError("g++ is not installed: it is needed to compile the load generator") from error
        if done.returncode != 0:
            raise LoadError(f"the load generator does not compile:\n{done.stderr}")
    return program


def run_load(load: Load, on_measuring: Callable[[], object], on_measured: Callable[[], object]) -> LoadResult:
    """Put `load` on a server.

    `on_measuring` is called when the warm-up is over and `on_measured` when the measured time is, before the last
    answers are in: there a server's counters are to be read. Raises LoadError when the generator cannot connect, or
    when the server closed every connection.
    """
    command = [str(build_loadgen()), *load.arguments()]
    messages = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stderr:
            if line == "measuring\n":
                on_measuring()
            elif line == "measured\n":
                on_measured()
            else:
                messages.append(line.strip())
        output = process.stdout.read()
    if process.returncode != 0:
        raise LoadError("; ".join([*messages, output.strip()]) or f"load generator: exit {process.returncode}")
    return LoadResult(**json.loads(output))
