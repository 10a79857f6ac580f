"""Other libraries that serve models of texts: each behind the same small server (peers/text_server.py), and infinity.

Each runs in the environment that its exports and pins demand, made on first use below build/bench-venvs, and in the
precisions that it has. A peer that cannot be measured is named with the reason, and fails the verdict.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmarks.checks import Check
from benchmarks.endpoints import AnswerError, http_post
from benchmarks.figures import Row
from benchmarks.measure import MeasureError
from benchmarks.peers.environment import InstallError, python_of
from benchmarks.process import StartError
from benchmarks.servers import PEERS, Endpoint, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.figures import Figures

NotMeasured = dict[str, str]
"""A peer's label -> why not."""

T = TypeVar("T")

LEAST_OF_PEERS = 1.5
# Nothing of this project is found by their imports, and nothing is asked of a hub.
ALONE = {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}


class Library(NamedTuple):
    """An engine of peers/text_server.py."""

    label: str
    engine: str
    environment: str
    precisions: tuple[str, ...]


TORCH = Library("sentence-transformers, torch", "torch", "text_openvino", ("float32", "bfloat16"))
ONNX = Library("sentence-transformers, ONNX", "onnx", "text_onnx", ("float32", "int8"))
OPENVINO = Library("sentence-transformers, OpenVINO", "openvino", "text_openvino", ("float32", "bfloat16"))
ENCODERS = (
    TORCH,
    ONNX,
    OPENVINO,
    Library("onnxruntime", "onnxruntime", "text_onnx", ("float32", "int8")),
    Library("CTranslate2", "ctranslate2", "text_onnx", ("float32", "int8")),
)
CLASSIFIERS = (
    Library("transformers, torch", "torch", "text_openvino", ("float32",)),
    Library("optimum, ONNX", "onnx", "text_onnx", ("float32",)),
    Library("optimum, OpenVINO", "openvino", "text_openvino", ("float32",)),
)
RERANKERS = tuple(
    library._replace(label=f"CrossEncoder, {name}", precisions=("float32",))
    for library, name in ((TORCH, "torch"), (ONNX, "ONNX"), (OPENVINO, "OpenVINO"))
)
INFINITY = ("float32", "bfloat16")

_TASKS = {"embed": ("/embed", "text"), "classify": ("/predict", "doc"), "rerank": ("/rerank", "query")}


def library_server(task: str, library: Library, precision: str) -> Server:
    """A library behind the small server; `task` is embed, classify or rerank."""
    path, field = _TASKS[task]
    program = str(PEERS / "text_server.py")
    return Server(
        f"{task}-{library.engine}-{precision}",
        lambda folder, ports: [
            *(str(python_of(library.environment)), program, task, library.engine, precision),
            *(str(folder), str(ports[0])),
        ],
        (Endpoint(f"{library.label} {precision}", "http-json", path, field=field),),
        environment=lambda _folder: ALONE,
    )


def infinity(precision: str) -> Server:
    """infinity's own server, on its torch engine."""

    def command(folder: Path, ports: list[int]) -> list[str]:
        python = python_of("infinity")
        options = ("--engine", "torch", "--device", "cpu", "--dtype", precision, "--batch-size", "32", "--no-compile")
        return [
            *(str(python.with_name("infinity_emb")), "v2", "--model-id", str(folder), *options),
            *("--served-model-name", "encoder", "--host", "127.0.0.1", "--port", str(ports[0]), "--log-level", "error"),
        ]

    endpoint = Endpoint(f"infinity {precision}", "http-json", "/embeddings", field="input")
    return Server(f"infinity-{precision}", command, (endpoint,), environment=lambda _folder: ALONE)


def encoder_peers(precisions: Sequence[str]) -> Iterator[Server]:
    """All that have one of the precisions."""
    for precision in precisions:
        yield from (library_server("embed", one, precision) for one in ENCODERS if precision in one.precisions)
        if precision in INFINITY:
            yield infinity(precision)


def classifier_peers() -> Iterator[Server]:
    """All, in float32; infinity's own route takes lists alone, and its batches would be the load generator's."""
    yield from (library_server("classify", library, "float32") for library in CLASSIFIERS)


def rerank_peers() -> Iterator[Server]:
    """All, in float32."""
    yield from (library_server("rerank", library, "float32") for library in RERANKERS)


def posted(port: int, endpoint: Endpoint, text: str) -> Any:
    """What an endpoint answers to a text. Raises AnswerError, OSError."""
    return json.loads(http_post(port, endpoint.path, json.dumps({endpoint.field: text}).encode()))


def with_peers(server: Server, missing: NotMeasured, measure: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What is measured of a server; of a peer that cannot be measured the reason goes into `missing`."""
    if server.environment(PEERS) is not ALONE:
        yield from measure()
        return
    try:
        yield from measure()
    except (InstallError, StartError, MeasureError, AnswerError, OSError) as error:
        missing[server.endpoints[0].label] = str(error)
        print(f"not measured: {server.endpoints[0].label}: {error}", file=sys.stderr)


def peer_checks(
    rows: Mapping[Row, Figures],
    ours: Mapping[str, str],
    documents: str,
    connections: Sequence[int],
    missing: Mapping[str, str],
) -> Iterator[Check]:
    """Ours in each precision (`ours`: the label of its row) against the best peer in the same."""
    asked = f">= {LEAST_OF_PEERS:g} times the best of other libraries"
    for precision, label in ours.items():
        for count in connections:
            mine = rows.get(Row(label, documents, count))
            others = {
                row.label: figures.rps
                for row, figures in rows.items()
                if row.connections == count and row.label.endswith(f" {precision}") and not row.label.startswith("ours")
            }
            if mine is None or not others:
                continue
            best = max(others, key=others.__getitem__)
            ratio = mine.rps / others[best]
            what = f"{precision} at {count} connections"
            yield Check(what, asked, f"{ratio:.2f} times ({best})", ratio >= LEAST_OF_PEERS)
    yield Check("libraries that could not be measured", "0", str(len(missing)), not missing)
