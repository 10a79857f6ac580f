"""The command line of the benchmark."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arguments import SERVERS, parse_arguments
from benchmarks.documents import write_documents
from benchmarks.endpoints import AnswerError
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_model, measure_server
from benchmarks.peers.environment import InstallError
from benchmarks.process import ROOT, StartError
from benchmarks.report import Report

if TYPE_CHECKING:
    import argparse

    from benchmarks.figures import Figures, Row

LOGS = ROOT / "build" / "bench-logs"


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
    progress = Progress(options.rounds * sum(plan.rows_of(server) for server in servers))
    report = Report({name: str(value) for name, value in vars(options).items()})
    for number in range(1, options.rounds + 1):
        print(f"round {number}: the model alone", file=sys.stderr)
        alone = measure_model(plan)
        report.alone.append(alone.figures)
        for server in servers:
            for row, figures in measure_server(server, plan, alone.scores):
                report.add(row, figures)
                progress.row(number, row, figures)
    return report


def main() -> int:
    """The exit status, as --help gives it."""
    options = parse_arguments()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = run(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, InstallError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report.markdown())
    print(f"every round: {report.save(options.output)}", file=sys.stderr)
    return 0 if all(check.holds for check in report.checks()) else 1


if __name__ == "__main__":
    sys.exit(main())
