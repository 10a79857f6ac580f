"""Other libraries beside ours: their small server answers as the models do, and the verdict takes the best of them."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks import text_peers
from benchmarks.embeddings import TEXTS, folder_of, is_listening, is_peer_ready, ours
from benchmarks.endpoints import free_port
from benchmarks.figures import Figures, Row
from benchmarks.measure import MeasureError
from benchmarks.peers.environment import InstallError
from benchmarks.process import ServerProcess, StartError
from benchmarks.text_peers import (
    CLASSIFIERS,
    ENCODERS,
    INFINITY,
    RERANKERS,
    classifier_peers,
    encoder_peers,
    infinity,
    library_server,
    peer_checks,
    posted,
    rerank_peers,
    with_peers,
)
from tests.support.folders import heads, reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.servers import Server

TEXT = "the boat in the harbour is small"


def figures(rps: float) -> Figures:
    return Figures(rps, 1, 2, 3, 1, 1, None, 0, 1)


@pytest.fixture
def of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers run in the environment of the tests, which has some of the libraries."""
    monkeypatch.setattr(text_peers, "python_of", lambda _name: sys.executable)


@pytest.mark.usefixtures("of_ours")
def test_vectors_of_a_library(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    heads.sentence_encoder(folder, "bert", "mean", ("normalize",))
    server, port = library_server("embed", ENCODERS[0], "float32"), free_port()
    (endpoint,) = server.endpoints
    errors: dict[str, float] = {}
    wanted = reference.vectors(folder, [TEXT])
    ready = partial(is_peer_ready, port, endpoint, wanted, [TEXT], errors)
    with ServerProcess(
        server.name, server.command(folder, [port]), server.environment(folder), tmp_path / "log"
    ) as run:
        run.wait_ready(ready)
        assert abs(errors[endpoint.label]) < 1e-5
        with pytest.raises(MeasureError, match="are not the model's: 1 - cosine is"):
            is_peer_ready(port, endpoint, -wanted, [TEXT], errors)


@pytest.mark.usefixtures("of_ours")
def test_labels_and_ranks_of_a_library(tmp_path: Path) -> None:
    for task, library, write in (
        ("classify", CLASSIFIERS[0], heads.classifier),
        ("rerank", RERANKERS[0], heads.reranker),
    ):
        folder = tmp_path / task
        write(folder, "bert")
        server, port = library_server(task, library, "float32"), free_port()
        (endpoint,) = server.endpoints
        command, log = server.command(folder, [port]), tmp_path / "log"
        with ServerProcess(server.name, command, server.environment(folder), log) as process:
            process.wait_ready(partial(is_listening, port))
            if task == "classify":
                powers = np.exp(reference.logits(folder, [TEXT])[0])
                assert posted(port, endpoint, TEXT)["scores"] == pytest.approx(
                    (powers / powers.sum()).tolist(), abs=1e-4
                )
            else:
                body = b'{"query": "a boat", "texts": ["%s", "a"]}' % TEXT.encode()
                scores = text_peers.http_post(port, endpoint.path, body)
                wanted = reference.scores(folder, [("a boat", TEXT), ("a boat", "a")])
                assert json.loads(scores)["scores"] == pytest.approx(wanted.tolist(), abs=1e-4)


def test_infinity_is_asked_as_openai_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_peers, "python_of", lambda name: tmp_path / name / "bin" / "python")
    command = infinity("bfloat16").command(tmp_path, [80])
    assert command[0] == str(tmp_path / "infinity" / "bin" / "infinity_emb")
    assert command[command.index("--dtype") + 1] == "bfloat16"
    assert [(one.path, one.field) for one in infinity("float32").endpoints] == [("/embeddings", "input")]


def test_each_precision_has_its_peers() -> None:
    def labels(servers: Iterator[Server]) -> list[str]:
        return [server.endpoints[0].label for server in servers]

    assert len(labels(encoder_peers(["float32"]))) == len(ENCODERS) + 1
    assert {label.rpartition(" ")[2] for label in labels(encoder_peers(["bfloat16", "int8"]))} == {"bfloat16", "int8"}
    assert len(labels(classifier_peers())) == len(CLASSIFIERS)
    assert len(labels(rerank_peers())) == len(RERANKERS)
    assert "int8" not in INFINITY


@pytest.mark.parametrize(
    "error",
    [InstallError("no pip"), StartError("it ended"), MeasureError("not the model's"), TimeoutError("timed out")],
)
def test_a_peer_that_cannot_be_measured_is_named(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Any:
        raise error

    missing: dict[str, str] = {}
    peer = infinity("float32")
    assert list(with_peers(peer, missing, fail)) == []
    assert missing == {"infinity float32": str(error)}
    assert str(error) in capsys.readouterr().err
    (check,) = peer_checks({}, {}, TEXTS, (1,), missing)
    assert (check.measured, check.holds) == ("1", False)


def test_a_fault_of_ours_is_none_of_a_peer() -> None:
    def fail() -> Any:
        raise StartError("it ended")

    with pytest.raises(StartError):
        list(with_peers(ours("float32"), {}, fail))


def test_the_verdict_takes_the_best_of_the_same_precision() -> None:
    rows = {
        Row("ours float32, Thrift embed_matrix", TEXTS, 16): figures(150),
        Row("ours int8, Thrift embed_matrix", TEXTS, 16): figures(149),
        Row("CTranslate2 float32", TEXTS, 16): figures(100),
        Row("onnxruntime float32", TEXTS, 16): figures(90),
        Row("onnxruntime float32", TEXTS, 64): figures(900),
        Row("onnxruntime int8", TEXTS, 16): figures(100),
        Row("encode behind aiohttp", TEXTS, 16): figures(900),
    }
    labels = {precision: f"ours {precision}, Thrift embed_matrix" for precision in ("float32", "int8", "bfloat16")}
    float32, int8, last = peer_checks(rows, labels, TEXTS, (16, 64), {})
    assert (float32.what, float32.measured, float32.holds) == (
        "float32 at 16 connections",
        "1.50 times (CTranslate2 float32)",
        True,
    )
    assert not int8.holds
    assert (last.measured, last.holds) == ("0", True)


def test_the_large_encoder(tmp_path: Path) -> None:
    """Its weights are of BERT-base's size, and sentence-transformers reads it."""
    folder = folder_of("base", tmp_path)
    assert (folder / "model.safetensors").stat().st_size > 430e6
    assert reference.vectors(folder, [TEXT]).shape == (1, 768)
