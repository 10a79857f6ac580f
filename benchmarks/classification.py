"""A classifier and a reranker of DistilBERT's size: our server, and the libraries that people use, in-process.

    python -m benchmarks.classification

The models have random weights: what they cost does not depend on what they know. Every round measures all in turn, over
texts of mixed length. The libraries: transformers' pipeline with one text a call, as a plain server calls it, and with
batches; sentence-transformers' CrossEncoder.predict with batches. torch's threads are as they are by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.arguments import add_load_options
from benchmarks.checks import Check
from benchmarks.embeddings import LOGS, QUICK, TEXTS, is_listening, measure_server, mixed_texts
from benchmarks.endpoints import AnswerError, ThriftClient, free_port, status_batches
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import check_table, markdown, server_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHECKED_AT = 16
LEAST_OF_PIPELINE = 2.0
CANDIDATES = 64  # of one query

CLASSIFIER = Server(
    "ours-folder-classifier",
    lambda folder, ports: [
        *(sys.executable, "-m", "server", f"classifier={folder}", "--port", str(ports[0])),
        *("--rest-port", str(ports[1])),
    ],
    (Endpoint("ours, Thrift predict", "thrift"), Endpoint("ours, HTTP", "http-json", "/predict", port=1)),
    environment=lambda _folder: {},
    ports=2,
    batches=status_batches,
)


def make_folders(folder: Path) -> None:
    """`folder`/classifier and `folder`/reranker, in a process of its own: torch's Python part is large."""
    command = [sys.executable, "-m", "benchmarks.classification_alone", "make", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def measure_alone(folder: Path, texts: Path, seconds: float) -> dict[str, float]:
    """Name -> texts or pairs a second, by the libraries, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.classification_alone", "measure", str(folder)]
    options = ["--texts", str(texts), "--seconds", str(seconds)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise MeasureError(f"the libraries cannot be measured:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout))


def is_ready(port: int) -> bool:
    """Whether our server has loaded its model."""
    if not is_listening(port):
        return False
    with ThriftClient(port) as client:
        return bool(client.status().ready)


def measure_rerank(model: Path, texts: Sequence[str], seconds: float) -> float:
    """Pairs a second by one client that asks for the order of CANDIDATES texts at a time."""
    port = free_port()
    command = [sys.executable, "-m", "server", f"reranker={model}", "--no-rest", "--port", str(port)]
    with ServerProcess("ours-reranker", command, {}, LOGS / "ours-reranker.log") as process:
        process.wait_ready(partial(is_ready, port))
        with ThriftClient(port) as client:
            pairs, begin = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - begin) < seconds:
                at = pairs % (len(texts) - CANDIDATES)
                pairs += len(client.rerank(texts[at], list(texts[at : at + CANDIDATES]), None, None))
            return pairs / elapsed


def measure(
    options: argparse.Namespace, folder: Path
) -> tuple[list[dict[str, float]], dict[Row, list[Figures]], list[float]]:
    """All rounds: the libraries, our classifier's rows, our reranker's pairs a second."""
    texts = mixed_texts()
    documents = folder / "texts.txt"
    documents.write_text("\n".join(texts) + "\n", encoding="utf-8")
    make_folders(folder)
    plan = Plan(folder / "classifier", {TEXTS: documents}, options.connections, options.seconds, options.warmup, LOGS)
    build_loadgen()
    alone: list[dict[str, float]] = []
    rows: dict[Row, list[Figures]] = {}
    reranked: list[float] = []
    for _ in range(options.rounds):
        alone.append(measure_alone(folder, documents, options.seconds))
        for row, figures in measure_server(CLASSIFIER, plan, partial(is_ready)):
            rows.setdefault(row, []).append(figures)
        reranked.append(measure_rerank(folder / "reranker", texts, options.seconds))
        print(f"ours, rerank: {reranked[-1]:,.0f} pairs/s", file=sys.stderr)
    return alone, rows, reranked


def checks(
    rows: Mapping[Row, Figures], alone: Mapping[str, float], reranked: float, connections: int = CHECKED_AT
) -> Iterator[Check]:
    """What is asked."""
    asked = f">= {LEAST_OF_PIPELINE:g} times the library's best"
    row = rows.get(Row(CLASSIFIER.endpoints[0].label, TEXTS, connections))
    if row is not None:
        best = max(rate for name, rate in alone.items() if "pipeline" in name)
        ratio = row.rps / best
        yield Check(f"classifier at {connections} connections", asked, f"{ratio:.2f} times", ratio >= LEAST_OF_PIPELINE)
    ratio = reranked / max(rate for name, rate in alone.items() if "CrossEncoder" in name)
    yield Check("reranker, one client", asked, f"{ratio:.2f} times", ratio >= LEAST_OF_PIPELINE)
    errors = sum(figures.errors for figures in rows.values())
    yield Check("errors of ours, all rows", "0", str(errors), errors == 0)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.classification",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add_load_options(parser, rounds=3, seconds=4.0, warmup=1.0)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            alone, rows, reranked = measure(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, OSError, subprocess.CalledProcessError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    middle = {name: median(each[name] for each in alone) for name in alone[0]}
    pairs = median(reranked)
    verdict = list(checks({row: middle_row(rounds) for row, rounds in rows.items()}, middle, pairs))
    lines = [[name, f"{rate:,.0f}/s"] for name, rate in middle.items()]
    lines.append([f"ours, Thrift rerank of {CANDIDATES} texts, pairs", f"{pairs:,.0f}/s"])
    print(f"A classifier and a reranker of DistilBERT's size; {machine_line()}\n")
    print(f"{markdown(('texts or pairs', 'measured'), lines)}\n")
    print(f"Over the network:\n\n{server_table(rows)}\n\n{check_table(verdict, 'texts of mixed length')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
