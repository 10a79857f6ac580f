"""Two versions of this service, side by side in one run: the server of this checkout, and that of another one.

In each round both run all the time, with the models that `make run` serves, and take turns row by row, so that a
machine that becomes slower is slower for both. The other checkout must have its extension built, and runs in this
environment's Python.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from thrift.Thrift import TException

from benchmarks.arguments import add_load_options
from benchmarks.documents import FIXED_SENTENCE
from benchmarks.embeddings import LOGS, is_listening, mixed_texts
from benchmarks.endpoints import AnswerError, ThriftClient, free_port, status_batches
from benchmarks.figures import Row
from benchmarks.generation import measure as measure_generation
from benchmarks.generation import thrift_asker
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import Plan, measure_row
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MODELS = ("classifier.pt", "smart_reply.tflite", "encoder", "generator")
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.3}
MESSAGE = "see you at the airport"
GENERATING = 8


@dataclass(frozen=True)
class Work:
    """What both versions are asked to do. `most` is how much slower this one may be, as a share."""

    endpoint: Endpoint
    documents: str
    connections: tuple[int, ...]
    most: float


@dataclass(frozen=True)
class Pair:
    """This version's figures and the other's, of one turn: answers a second, and CPU microseconds for each."""

    rates: tuple[float, float]
    cpu_us: tuple[float, float]


Key = tuple[str, int, float]
"""What is measured, with how many connections, and how much slower this version may be."""
Pairs = dict[Key, list[Pair]]


@dataclass(frozen=True)
class Version:
    """A running server."""

    server: Server
    ports: list[int]
    pid: int


def works(connections: tuple[int, ...]) -> Iterator[Work]:
    """All but generation, which has clients of its own."""
    yield Work(Endpoint("predict, Thrift", "thrift"), "sentence", connections, 0.03)
    yield Work(Endpoint("predict, HTTP", "http-get", port=1), "sentence", connections, 0.03)
    yield Work(Endpoint("reply, Thrift", "thrift", method="reply"), "message", connections, 0.05)
    yield Work(Endpoint("embed_matrix, Thrift", "thrift", method="embed_matrix"), "texts", connections, 0.05)


@contextlib.contextmanager
def running(name: str, checkout: Path, models: Path) -> Iterator[Version]:
    """A checkout's server, with all models loaded. Raises StartError."""
    ports = [free_port(), free_port()]
    first, *others = (str(models / model) for model in MODELS)
    flags = ("--host", "127.0.0.1", "--port", str(ports[0]), "--rest-port", str(ports[1]))
    command = [sys.executable, "-P", "-m", "server", first, *(f"--model={model}" for model in others), *flags]
    paths = os.pathsep.join((str(checkout), str(checkout / "gen-py")))  # before the environment's own
    server = Server(name, lambda _model, _ports: command, (), ports=2, batches=status_batches)
    with ServerProcess(name, command, {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}, LOGS / f"{name}.log") as process:
        process.wait_ready(partial(_is_ready, ports[0]))
        yield Version(server, ports, process.pid)


def _is_ready(port: int) -> bool:
    if not is_listening(port):
        return False
    try:
        with ThriftClient(port) as client:
            return bool(client.status().ready)
    except (OSError, TException):
        return False


def of_load(work: Work, connections: int, plan: Plan, version: Version) -> tuple[float, float]:
    """(answers a second, CPU microseconds an answer). Raises LoadError when there were errors."""
    row = Row(work.endpoint.label, work.documents, connections)
    figures = measure_row(version.server, work.endpoint, row, plan, version.ports, version.pid)
    if figures.errors or not figures.rps:
        raise LoadError(
            f"{version.server.name}, {work.endpoint.label}: {figures.errors} errors, {figures.rps} answers/s"
        )
    return figures.rps, figures.cpu_us


def of_generation(clients: int, options: argparse.Namespace, version: Version) -> tuple[float, float]:
    """(tokens a second, CPU microseconds a token). Raises LoadError."""
    rate = measure_generation(partial(thrift_asker, version.ports[0]), clients, options, version.pid)
    if not rate.tokens_per_s:
        raise LoadError(f"{version.server.name} generated nothing in {options.seconds:g} s: use longer --seconds")
    return rate.tokens_per_s, rate.cpu_us


def one_round(options: argparse.Namespace, plan: Plan, versions: Sequence[Version], turn: Iterator[int]) -> Pairs:
    """One turn of both versions at each piece of work. Who goes first changes from turn to turn."""
    rows: dict[Key, Callable[[Version], tuple[float, float]]] = {
        (work.endpoint.label, connections, work.most): partial(of_load, work, connections, plan)
        for work in works(options.connections)
        for connections in work.connections
    }
    for clients in (1, GENERATING):
        rows["generate, Thrift", clients, 0.05] = partial(of_generation, clients, options)
    pairs: Pairs = {}
    for key, measure in rows.items():
        order = (0, 1) if next(turn) % 2 else (1, 0)
        figures = {index: measure(versions[index]) for index in order}
        pair = Pair((figures[0][0], figures[1][0]), (figures[0][1], figures[1][1]))
        pairs[key] = [pair]
        print(f"{key[0]}, {key[1]} conn.: {pair.rates[0]:,.0f} beside {pair.rates[1]:,.0f}/s", file=sys.stderr)
    return pairs


def measure_rounds(options: argparse.Namespace, folder: Path) -> Pairs:
    """All rounds, each with new processes: where the system puts a process's memory is worth some per cent."""
    texts = {"sentence": [FIXED_SENTENCE], "message": [MESSAGE], "texts": mixed_texts()}
    files = {name: folder / f"{name}.txt" for name in texts}
    for name, lines in texts.items():
        files[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    plan = Plan(options.models, files, options.connections, options.seconds, options.warmup, LOGS)
    pairs: Pairs = {}
    turn = count()
    for number_of_round in range(1, options.rounds + 1):
        print(f"round {number_of_round} of {options.rounds}", file=sys.stderr)
        with (
            running("this", ROOT, options.models) as this,
            running("other", options.checkout.resolve(), options.models) as other,
        ):
            for key, of_round in one_round(options, plan, (this, other), turn).items():
                pairs.setdefault(key, []).extend(of_round)
    return pairs


def table(pairs: Pairs) -> tuple[str, bool]:
    """Medians of the rounds and of the ratios pair by pair; and whether none is lower than allowed."""
    lines, holds = [], True
    for (label, connections, most), of_row in pairs.items():
        ours, others = (median(pair.rates[index] for pair in of_row) for index in (0, 1))
        rate = median(pair.rates[0] / pair.rates[1] for pair in of_row)
        cpu = median(pair.cpu_us[0] / pair.cpu_us[1] for pair in of_row)
        holds = holds and rate >= 1 - most and cpu <= 1 + most
        cpu_us = median(pair.cpu_us[0] for pair in of_row)
        allowed = f"{1 - most:.2f}, {1 + most:.2f}"
        lines.append(
            [
                label,
                str(connections),
                f"{ours:,.0f}",
                f"{others:,.0f}",
                f"{rate:.3f}",
                f"{cpu_us:.1f}",
                f"{cpu:.3f}",
                allowed,
            ]
        )
    head = ("what", "connections", "this/s", "other/s", "ratio", "CPU us, this", "ratio of CPU", "allowed")
    return markdown(head, lines), holds


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.versions",
        epilog="The exit status is 1 when this version is slower than allowed, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("checkout", type=Path, metavar="CHECKOUT", help="the other version's folder")
    add("--models", type=Path, default=ROOT / "models", metavar="FOLDER", help="what `make run` made; default: models")
    add_load_options(parser, rounds=5, seconds=2.0, warmup=0.5)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        build_loadgen()
        with tempfile.TemporaryDirectory() as folder:
            text, holds = table(measure_rounds(options, Path(folder)))
    except (LoadError, AnswerError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"This version beside {options.checkout}; {machine_line()}\n\n{text}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
