"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.documents import FIXED_SENTENCE, write_documents
from benchmarks.inprocess import own_scores
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_inprocess, measure_server
from benchmarks.peers.environment import InstallError
from benchmarks.process import ROOT, StartError
from benchmarks.report import Report
from benchmarks.servers import OWN_SERVERS, PEER_SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from benchmarks.figures import Figures, Row

T = TypeVar("T", int, float)

SERVERS = {server.name: server for server in (*OWN_SERVERS, *PEER_SERVERS)}
KINDS = ("fixed", "varied")
MODEL = ROOT / "models" / "classifier.pt"
LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.5}


def _among(names: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """The type of an option that takes some of `names`, with commas between."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(names)}")
        return chosen

    return parse


def _number(kind: Callable[[str], T], low: float, high: float) -> Callable[[str], T]:
    """The type of an option that takes a number from `low` to `high`."""

    def parse(text: str) -> T:
        number = kind(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return number

    parse.__name__ = kind.__name__  # argparse names it when the text is no number
    return parse


def _connections(text: str) -> tuple[int, ...]:
    return tuple(_number(int, 1, 10_000)(part) for part in text.split(","))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures this service, the plain Apache Thrift server and the model alone, in one run.",
        epilog="Tables go to stdout, progress to stderr, every round as JSON to benchmarks/results/. "
        "The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured. "
        "benchmarks/README.md explains the figures.",
    )
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        default=MODEL,
        metavar="FILE",
        help="TorchScript classifier (default: models/classifier.pt)",
    )
    add("--peers", action="store_true", help="also mosec and LitServe, installed on first use below build/bench-venvs")
    add("--servers", type=_among(SERVERS), metavar="NAMES", help=f"only some of {','.join(SERVERS)}")
    add(
        "--documents",
        type=_among(KINDS),
        default=KINDS,
        metavar="KINDS",
        help=f"some of {','.join(KINDS)} (default: all)",
    )
    add("--connections", type=_connections, default=(1, 16, 64), metavar="N,N,...", help="(default: 1,16,64)")
    add("--rounds", type=_number(int, 1, 100), default=3, help="the tables show their medians (default: %(default)s)")
    add("--seconds", type=_number(float, 0.1, 600), default=3.0, help="time for each row (default: %(default)s)")
    add("--warmup", type=_number(float, 0, 600), default=1.0, help="load before that, seconds (default: %(default)s)")
    add("--quick", action="store_true", help="one round of 1 s after 0.5 s of warm-up: to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if options.servers is None:
        options.servers = tuple(server.name for server in (*OWN_SERVERS, *(PEER_SERVERS if options.peers else ())))
    if not options.model.is_file():
        parser.error(f"--model: {options.model} is not there; `make models/classifier.pt` trains the demo classifier")
    return options


class Progress:
    """One line on stderr for each row, with the time that is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()

    def row(self, number: int, row: Row, figures: Figures) -> None:
        """A row of the round `number` is done."""
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        print(
            f"[{self._done}/{self._total}] round {number}: {row.label}, {row.documents}, {row.connections} conn.: "
            f"{figures.rps:,.0f} req/s, p99 {figures.p99_us / 1e3:.2f} ms, {figures.errors} errors "
            f"(about {left / 60:.1f} min left)",
            file=sys.stderr,
        )


def run(options: argparse.Namespace, folder: Path) -> Report:
    """All rounds; in each, the model alone and then one server after the other."""
    servers = [SERVERS[name] for name in options.servers]
    documents = {name: path for name, path in write_documents(folder).items() if name in options.documents}
    plan = Plan(
        model=options.model.resolve(),
        documents=documents,
        connections=options.connections,
        seconds=options.seconds,
        warmup=options.warmup,
        logs=LOGS,
    )
    build_loadgen()
    expected = own_scores(plan.model, FIXED_SENTENCE)
    progress = Progress(options.rounds * sum(plan.rows_of(server) for server in servers))
    report = Report({name: str(value) for name, value in vars(options).items()})
    for number in range(1, options.rounds + 1):
        print(f"round {number}: the model alone", file=sys.stderr)
        report.alone.append(measure_inprocess(plan))
        for server in servers:
            for row, figures in measure_server(server, plan, expected):
                report.add(row, figures)
                progress.row(number, row, figures)
    return report


def main() -> int:
    """The exit status, as --help gives it."""
    options = parse_arguments()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = run(options, Path(folder))
    except (LoadError, MeasureError, StartError, InstallError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report.markdown())
    print(f"every round: {report.save()}", file=sys.stderr)
    return 0 if all(check.holds for check in report.checks()) else 1


if __name__ == "__main__":
    sys.exit(main())
