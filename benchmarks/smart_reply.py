"""Smart Reply: our executor against tflite-runtime on the same model, without a server and over Thrift.

    python -m benchmarks.smart_reply

Straightforward: the runtime's own operators, Normalize with the published patterns by std::regex, and over Thrift the
plain Apache server for Python, with as many interpreters as ours has workers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.arguments import add_times, connection_counts
from benchmarks.checks import Check, no_errors
from benchmarks.endpoints import AnswerError, status_batches
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_server
from benchmarks.process import ROOT, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.straightforward import BuildError, StraightforwardInterpreter
from benchmarks.table import check_table, markdown, server_table
from ext import _smart_reply
from server.errors import ModelError
from server.models.smart_reply_engine import SmartReplyInterpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODEL = ROOT / "models" / "smart_reply.tflite"
LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 0.5, "warmup": 0.2}

MEDIUM = "medium, 5 words"
MESSAGES = {
    "short, 1 word": "Hello",
    MEDIUM: "see you at the airport",
    "long, 20 words": "I was thinking that we could all meet for dinner tonight and then see a movie if you like",
}

OURS = Server(
    "ours-reply",
    lambda model, ports: [sys.executable, "-m", "server", str(model), "--no-rest", "--port", str(ports[0])],
    (Endpoint("ours", "thrift", method="reply"),),
    environment=lambda _model: {},
    batches=status_batches,
)
STRAIGHTFORWARD = Server(
    "straightforward",
    lambda model, ports: [sys.executable, "-m", "benchmarks.straightforward", str(model), str(ports[0])],
    (Endpoint("straightforward", "thrift", method="reply"),),
)
MOST_CPU_US = 100
LEAST_RATIO = 5


def cpu_us(interpreter: SmartReplyInterpreter | StraightforwardInterpreter, message: str, seconds: float) -> float:
    """CPU microseconds a message, over at least so many seconds."""
    count, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        interpreter.replies_many([message] * 16)
        count += 16
    return spent / count * 1e6


def in_process(stock: StraightforwardInterpreter, ours: SmartReplyInterpreter, rounds: int, seconds: float) -> str:
    """CPU microseconds a message on one thread, medians of rounds in which both take turns, as a table."""
    rows = []
    for name, message in MESSAGES.items():
        if stock.replies(message) != ours.replies(message):
            raise MeasureError(f"the operators do not agree on {message!r}")
        pairs = [(cpu_us(stock, message, seconds), cpu_us(ours, message, seconds)) for _ in range(rounds)]
        theirs, own = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(slow / fast for slow, fast in pairs)
        rows.append([name, f"{theirs:.0f}", f"{own:.1f}", f"{ratio:.1f}", f"{1e6 / own:,.0f}"])
    return markdown(("message", "straightforward us", "ours us", "times", "ours messages/s"), rows)


def over_thrift(options: argparse.Namespace, expected: dict[str, float], folder: Path) -> dict[Row, list[Figures]]:
    """All rounds of both servers; `expected` is the model's own answer to the medium message."""
    documents = {}
    for name, message in MESSAGES.items():
        documents[name] = folder / f"{name}.txt"
        documents[name].write_text(message + "\n", encoding="utf-8")
    plan = Plan(
        model=options.model.resolve(),
        documents=documents,
        connections=options.connections,
        seconds=options.seconds,
        warmup=options.warmup,
        logs=LOGS,
        sentence=MESSAGES[MEDIUM],
    )
    build_loadgen()
    rows: dict[Row, list[Figures]] = {}
    for _ in range(options.rounds):
        for server in (STRAIGHTFORWARD, OURS):
            for row, figures in measure_server(server, plan, expected):
                if figures.rps == 0:
                    raise MeasureError(f"{row.label} answered nothing in {options.seconds:g} s: use longer --seconds")
                rows.setdefault(row, []).append(figures)
                print(f"{row.label}, {row.documents}, {row.connections} conn.: {figures.rps:,.0f}/s", file=sys.stderr)
    return rows


def checks(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    """What is asked of the medium message."""
    for row, ours in rows.items():
        if row.label == OURS.endpoints[0].label and row.documents == MEDIUM:
            at = f"at {row.connections} connections"
            ratio = ours.rps / rows[Row(STRAIGHTFORWARD.endpoints[0].label, MEDIUM, row.connections)].rps
            yield Check(f"messages/s {at}", f">= {LEAST_RATIO} times", f"{ratio:.1f} times", ratio >= LEAST_RATIO)
            cpu = f"{ours.cpu_us:.0f} us"
            yield Check(f"CPU of a message {at}", f"< {MOST_CPU_US} us", cpu, ours.cpu_us < MOST_CPU_US)
    yield no_errors(rows.values())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.smart_reply",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FILE", help="default: models/smart_reply.tflite")
    add("--connections", type=connection_counts, default=(1, 16, 64), metavar="N,N,...", help="default: 1,16,64")
    add_times(parser, rounds=3, seconds=2.0, warmup=0.5)
    add("--quick", action="store_true", help="one round of half a second: to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if not options.model.is_file():
        parser.error(f"--model: {options.model} is not there: python scripts/fetch_models.py smart-reply")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        stock, ours = StraightforwardInterpreter(options.model), SmartReplyInterpreter(options.model)
        alone = in_process(stock, ours, options.rounds, options.seconds / 4)
        with tempfile.TemporaryDirectory() as folder:
            rows = over_thrift(options, ours.replies(MESSAGES[MEDIUM]), Path(folder))
    except (BuildError, ModelError, LoadError, AnswerError, MeasureError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    verdict = list(checks({row: middle_row(rounds) for row, rounds in rows.items()}))
    print(f"Smart Reply, the projection with {_smart_reply.best_instructions().name}; {machine_line()}\n")
    print(f"CPU on one thread, without a server:\n\n{alone}\n")
    print(f"Over Thrift:\n\n{server_table(rows)}\n\n{check_table(verdict, 'on the medium message')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
