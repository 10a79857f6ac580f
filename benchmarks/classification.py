"""A classifier and a reranker of DistilBERT's size: our server, and the libraries that people use, in-process.

    python -m benchmarks.classification
    python -m benchmarks.classification --peers

The models have random weights: what they cost does not depend on what they know. Every round measures all in turn, over
texts of mixed length. The libraries: transformers' pipeline with one text a call, as a plain server calls it, and with
batches; sentence-transformers' CrossEncoder.predict with batches. torch's threads are as they are by default. With
--peers: transformers and optimum's ONNX and OpenVINO behind HTTP too, and CrossEncoder on each (text_peers.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.arguments import add_load_options
from benchmarks.checks import Check
from benchmarks.embeddings import LOGS, QUICK, TEXTS, is_listening, measure_server, mixed_texts
from benchmarks.endpoints import AnswerError, ThriftClient, free_port, http_post, status_batches
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import check_table, markdown, server_table
from benchmarks.text_peers import LEAST_OF_PEERS, NotMeasured, classifier_peers, peer_checks, rerank_peers, with_peers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHECKED_AT = 16
LEAST_OF_PIPELINE = 2.0
CANDIDATES = 64  # of one query
OURS = "ours, Thrift"
RERANK_TIMEOUT_S = 120  # for as many pairs by a slow library on a busy machine

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


@dataclass
class Measured:
    """All rounds."""

    alone: list[dict[str, float]]
    """Name -> texts or pairs a second, by the libraries in-process."""
    rows: dict[Row, list[Figures]]
    reranked: dict[str, list[float]]
    """OURS or a library's name -> pairs a second, by one client."""
    missing: NotMeasured


def measure(options: argparse.Namespace, folder: Path) -> Measured:
    """All rounds: the libraries, our classifier's rows, our reranker's pairs a second, and those of the peers."""
    texts = mixed_texts()
    documents = folder / "texts.txt"
    documents.write_text("\n".join(texts) + "\n", encoding="utf-8")
    make_folders(folder)
    plan = Plan(
        folder / "classifier",
        {TEXTS: documents},
        options.connections,
        options.seconds,
        options.warmup,
        LOGS,
        lone_spin_us=0,
    )
    build_loadgen()
    measured = Measured([], {}, {}, {})
    for _ in range(options.rounds):
        measured.alone.append(measure_alone(folder, documents, options.seconds))
        for server, ready in ((CLASSIFIER, is_ready), *((peer, is_listening) for peer in _peers(options))):
            work = partial(measure_server, server, plan, partial(ready))
            for row, figures in with_peers(server, measured.missing, work):
                measured.rows.setdefault(row, []).append(figures)
        measured.reranked.setdefault(OURS, []).append(measure_rerank(folder / "reranker", texts, options.seconds))
        for server in rerank_peers() if options.peers else ():
            asked = partial(_rerank_rate, server, folder / "reranker", texts, options.seconds)
            for name, rate in with_peers(server, measured.missing, asked):
                measured.reranked.setdefault(name, []).append(rate)
        print(f"ours, rerank: {measured.reranked[OURS][-1]:,.0f} pairs/s", file=sys.stderr)
    return measured


def _peers(options: argparse.Namespace) -> Iterator[Server]:
    return classifier_peers() if options.peers else iter(())


def _rerank_rate(server: Server, model: Path, texts: Sequence[str], seconds: float) -> Iterator[tuple[str, float]]:
    """The peer's name, and its pairs a second by one client that asks as ours is asked."""
    port = free_port()
    (endpoint,) = server.endpoints
    log = LOGS / f"{server.name}.log"
    with ServerProcess(server.name, server.command(model, [port]), server.environment(model), log) as process:
        process.wait_ready(partial(is_listening, port))
        pairs, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < seconds:
            at = pairs % (len(texts) - CANDIDATES)
            body = {"query": texts[at], "texts": list(texts[at : at + CANDIDATES])}
            answer = http_post(port, endpoint.path, json.dumps(body).encode(), RERANK_TIMEOUT_S)
            pairs += len(json.loads(answer)["scores"])
        yield endpoint.label, pairs / elapsed


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
    help_ = "also other libraries behind HTTP, installed on first use below build/bench-venvs"
    parser.add_argument("--peers", action="store_true", help=help_)
    add_load_options(parser, rounds=3, seconds=4.0, warmup=1.0)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    return options


def rerank_checks(reranked: Mapping[str, float], missing: Mapping[str, str]) -> Iterator[Check]:
    """Ours against the best peer."""
    others = {name: rate for name, rate in reranked.items() if name != OURS}
    if others:
        best = max(others, key=others.__getitem__)
        ratio = reranked[OURS] / others[best]
        asked = f">= {LEAST_OF_PEERS:g} times the best of other libraries"
        yield Check("reranker, one client", asked, f"{ratio:.2f} times ({best})", ratio >= LEAST_OF_PEERS)
    yield Check("libraries that could not be measured", "0", str(len(missing)), not missing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, OSError, subprocess.CalledProcessError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    verdict = report(options, measured)
    return 0 if all(check.holds for check in verdict) else 1


def report(options: argparse.Namespace, measured: Measured) -> list[Check]:
    """Print the tables; the verdict."""
    middle = {name: median(each[name] for each in measured.alone) for name in measured.alone[0]}
    reranked = {name: median(rates) for name, rates in measured.reranked.items()}
    rows = {row: middle_row(rounds) for row, rounds in measured.rows.items()}
    verdict = list(checks(rows, middle, reranked[OURS]))
    if options.peers:
        label = {"float32": CLASSIFIER.endpoints[0].label}
        verdict += peer_checks(rows, label, TEXTS, options.connections, {})
        verdict = [*verdict[:-1], *rerank_checks(reranked, measured.missing)]
    lines = [[name, f"{rate:,.0f}/s"] for name, rate in middle.items()]
    lines += [[f"{name}, rerank of {CANDIDATES} texts, pairs", f"{rate:,.0f}/s"] for name, rate in reranked.items()]
    print(f"A classifier and a reranker of DistilBERT's size; {machine_line()}\n")
    print(f"{markdown(('texts or pairs', 'measured'), lines)}\n")
    print(f"Over the network:\n\n{server_table(measured.rows)}\n\n{check_table(verdict, 'texts of mixed length')}")
    for what, why in measured.missing.items():
        print(f"\nNot measured: {what}: {why}")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
