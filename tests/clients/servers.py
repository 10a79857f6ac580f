"""Clients of other servers, unchanged, against a folder of each kind of model.

They are Triton's, KServe's, TensorFlow Serving's, huggingface_hub's, Cohere's and litellm's.

Run by `make test-libraries` and not by `make test`, because it installs them into an environment of their own. What
they give is compared with the answers of transformers and sentence-transformers.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.clients.libraries import DOCS, PYTHON, environment, run_program
from tests.e2e.folders import made
from tests.support.folders import chats, heads, reference
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

TEXTS = ["the boat leaves the harbour at seven", "a lamp", "Ada met a cat in Föhr", "rain 🙂", "a boat and a lamp"]
QUERY = "when does the boat leave the harbour"
OWN_LABELS = {"boats", "weather"}


@pytest.fixture(scope="module")
def folders(shared_files: SharedFiles) -> dict[str, Path]:
    return {**made(shared_files), "chat": chats.made(shared_files, "smollm")}


@pytest.fixture(scope="module")
def service(folders: dict[str, Path]) -> Iterator[Service]:
    with Service(*(f"--model={name}={path}" for name, path in folders.items())) as running:
        yield running


@pytest.fixture(scope="module")
def wanted(folders: dict[str, Path]) -> dict[str, Any]:
    """What sentence-transformers gives."""
    vectors = reference.vectors(folders["encoder"], [QUERY, *TEXTS])
    return {
        "vectors": vectors[1:],
        "cosines": vectors[1:] @ vectors[0],
        "ranks": reference.scores(folders["reranker"], [(QUERY, text) for text in TEXTS]),
    }


def ask(service: Service, program: str) -> dict[str, Any]:
    """What a program of the folder answers about TEXTS."""
    return run_program(program, service.rest_port, texts=TEXTS, query=QUERY)


def labels_of(service: Service) -> list[list[Any]]:
    """By our own route, whose answers tests/e2e compares with transformers'."""
    results = service.http("/predict", method="POST", body=json.dumps({"model": "topics", "docs": TEXTS, "top_k": 4}),
                           headers={"Content-Type": "application/json"}).json()["results"]  # fmt: skip
    return [list(result["scores"].items()) for result in results]


def require_vectors(answers: dict[str, Any], wanted: dict[str, Any], count: int) -> None:
    found = {name: value for name, value in answers.items() if name.startswith("vectors") and "tokens" not in name}
    assert len(found) == count
    for name, vectors in found.items():
        np.testing.assert_allclose(vectors, wanted["vectors"], atol=2e-5, err_msg=name)


def require_best(found: list[list[float]], scores: Any) -> None:
    """The three best, in their order."""
    assert [index for index, _ in found] == np.argsort(-scores)[:3].tolist()
    assert [score for _, score in found] == pytest.approx(sorted(scores, reverse=True)[:3], abs=1e-5)


def test_triton(service: Service, wanted: dict[str, Any], folders: dict[str, Path]) -> None:
    answers = ask(service, "triton")
    require_vectors(answers, wanted, 6)
    assert answers["alive"] == [True, True, True]
    assert answers["not there"] is False
    assert "binary_tensor_data" in answers["server"]
    assert set(answers["index"]) == set(folders)
    assert answers["metadata"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert answers["config"]["output"][0]["dims"] == [-1, wanted["vectors"].shape[1]]
    assert answers["labels"] == [labels[0][0] for labels in labels_of(service)]
    assert answers["ranks"] == pytest.approx(wanted["ranks"], abs=1e-5)
    parts = [part for text in answers["entities"] for part in json.loads(text)]
    assert {part["label"] for part in parts} <= {tag.split("-")[-1] for tag in heads.TAGS}
    assert parts
    [text] = answers["texts"]
    generated = service.http("/generate", method="POST", headers={"Content-Type": "application/json"}, body=json.dumps(
        {"model": "chat", "prompt": QUERY, "max_tokens": 8, "temperature": 0}))  # fmt: skip
    assert text == generated.json()["continuation"]
    assert "no model is named 'none'" in answers["refused"]["no model"]
    assert "has no output 'scores'; it has embeddings" in answers["refused"]["no output"]
    assert "not '1'" in answers["refused"]["no version"]


def test_kserve(service: Service, wanted: dict[str, Any]) -> None:
    answers = ask(service, "kserve")
    require_vectors(answers, wanted, 2)
    assert answers["alive"] == [True] * 5
    assert answers["not there"] is False
    assert answers["ranks"] == pytest.approx(wanted["ranks"], abs=1e-5)


def test_tensorflow_serving(service: Service, wanted: dict[str, Any]) -> None:
    answers = ask(service, "tensorflow_serving")
    require_vectors(answers, wanted, 3)
    assert answers["state"] == "AVAILABLE"
    assert answers["metadata"]["model_spec"]["name"] == "encoder"
    assert answers["labels"] == [labels[0][0] for labels in labels_of(service)]
    assert answers["ranks"] == pytest.approx(wanted["ranks"], abs=1e-5)
    assert "no model is named 'none'" in answers["refused"]["no model"]


def test_huggingface_hub(service: Service, wanted: dict[str, Any]) -> None:
    answers = ask(service, "hub")
    require_vectors(answers, wanted, 1)
    for name in ("similarity", "similarity by path"):
        assert answers[name] == pytest.approx(wanted["cosines"], abs=2e-5)
    labels = [pytest.approx(pair) if isinstance(pair, float) else pair for pair in labels_of(service)[0]]
    assert [label for label, _ in answers["labels"]] == [label for label, _ in labels]
    assert answers["labels by path"] == [[label, pytest.approx(score, abs=1e-6)] for label, score in labels]
    assert answers["best label"] == answers["labels by path"][:1]
    assert {label for label, _ in answers["own labels"]} == OWN_LABELS
    assert all(0 <= score <= 1 for _, score in answers["own labels"])
    for name in ("entities", "entities by path", "tokens"):
        assert answers[name], name
        assert all(TEXTS[0][start:stop] == word for _, word, start, stop, _ in answers[name])
    assert answers["text"]
    assert answers["whole text"] == QUERY + answers["text"]
    assert answers["chat"]
    assert "candidate_labels" in answers["refused"]["no labels"]


def test_rerankers_and_vllm(service: Service, wanted: dict[str, Any], folders: dict[str, Path]) -> None:
    answers = ask(service, "rerank")
    ranks = {name: found for name, found in answers.items() if name.startswith("ranks")}
    assert len(ranks) == 5
    for found in ranks.values():
        require_best(found, wanted["ranks"])
    assert answers["documents"] == [TEXTS[index] for index in np.argsort(-wanted["ranks"])[:3]]
    require_vectors(answers, wanted, 3)
    for name in ("scores", "scores of pairs"):
        assert answers[name] == pytest.approx(wanted["ranks"], abs=1e-5)
    assert answers["cosines"] == pytest.approx(wanted["cosines"], abs=2e-5)
    by_name = [dict(labels) for labels in labels_of(service)]
    assert answers["labels"] == [labels[0][0] for labels in labels_of(service)]
    in_order = [[scores[name] for name in heads.TOPICS] for scores in by_name]
    np.testing.assert_allclose(answers["probabilities"], in_order, atol=1e-6)
    np.testing.assert_allclose(answers["pooled probabilities"], in_order, atol=1e-6)
    assert all(len(vectors) > 1 for vectors in answers["vectors of tokens"])
    assert answers["names"].keys() == folders.keys()
    assert all(time.time() - 3600 < created <= time.time() for created in answers["names"].values())


def test_the_documentation_runs(service: Service) -> None:
    [program] = re.findall(r"<!-- run: servers -->\n```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    program = program.replace("8080", str(service.rest_port))
    done = subprocess.run([PYTHON, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2"]
