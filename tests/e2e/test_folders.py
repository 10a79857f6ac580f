"""Folders of Hugging Face on the command line: each kind answers over Thrift, with options of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from predictor.ttypes import ClassifyOptions, EmbedOptions, RequestOptions, RerankOptions

from tests.support.folders import heads, reference
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUERY, TEXTS = "where is the boat", ["the harbour is small", "a lamp", "boats lie in the harbour", ""]
WRITERS = {
    "vectors": lambda folder: heads.sentence_encoder(folder, "roberta", "cls", ("normalize",)),
    "topics": lambda folder: heads.classifier(folder, "distilbert", labels=heads.ENTAILMENT),
    "ranks": lambda folder: heads.reranker(folder, "bert"),
    "tags": lambda folder: heads.tagger(folder, "bert"),
    "sparse": lambda folder: heads.sparse_encoder(folder, "bert"),
    "tokens": lambda folder: heads.token_encoder(folder, "bert"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in WRITERS}
    for name, write in WRITERS.items():
        torch.manual_seed(1)  # with weights of other seeds a sparse vector may have no number
        write(made[name])
    return made


@pytest.fixture(scope="module")
def serving(folders: dict[str, Path]) -> Iterator[Service]:
    options = {"vectors": ",precision=int8"}
    first, *others = (f"{name}={folder}{options.get(name, '')}" for name, folder in folders.items())
    with Service(first, *(f"--model=owner/{other}" for other in others), "--precision=bfloat16") as running:
        yield running


def named(name: str) -> RequestOptions:
    return RequestOptions(model=f"owner/{name}")


def test_what_the_models_say_of_themselves(serving: Service) -> None:
    with serving.client() as predictor:
        infos = {info.name: info for info in predictor.list_models()}
    assert [info.kind for info in infos.values()] == [
        "sentence-encoder",
        "text-classifier",
        "cross-encoder",
        "token-classifier",
        "sparse-encoder",
        "late-interaction-encoder",
    ]
    assert infos["vectors"].details["precision"] == "int8"
    assert infos["owner/ranks"].details["precision"] == "bfloat16"
    assert infos["owner/topics"].details["labels"] == "contradiction, neutral, entailment"
    assert infos["owner/ranks"].methods == ["rerank", "tokenize", "detokenize"]
    assert "rerank" in infos["owner/ranks"].default_for


def test_vectors(serving: Service, folders: dict[str, Path]) -> None:
    wanted = reference.vectors(folders["vectors"], TEXTS)
    with serving.client() as predictor:
        matrix = predictor.embed_matrix(TEXTS, None, EmbedOptions(dimensions=16))
        whole = predictor.embed_matrix(TEXTS, None, None)
    found = np.frombuffer(whole.values, "<f4").reshape(whole.rows, whole.columns)
    assert (found * wanted).sum(1).min() > 0.98
    short = np.frombuffer(matrix.values, "<f4").reshape(len(TEXTS), 16)
    assert np.allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)


def test_a_reranker_orders_texts(serving: Service, folders: dict[str, Path]) -> None:
    scores = reference.scores(folders["ranks"], [(QUERY, text) for text in TEXTS])
    with serving.client() as predictor:
        ranked = predictor.rerank(QUERY, TEXTS, None, RerankOptions(top_n=3))
    assert len(ranked) == 3
    assert [each.score for each in ranked] == pytest.approx(sorted(scores, reverse=True)[:3], abs=0.05)


def test_labels_and_entities_and_tokens(serving: Service) -> None:
    with serving.client() as predictor:
        scores = predictor.predict(TEXTS[0], named("topics"))
        own = predictor.classify([TEXTS[0]], named("topics"), ClassifyOptions(candidate_labels=["boat", "lamp"]))
        entities = predictor.classify_tokens(TEXTS[0], None, None)
        (sparse,) = predictor.embed_sparse([TEXTS[0]], None, None)
        (vectors,) = predictor.embed_tokens([TEXTS[0]], None, None)
        (tokens,) = predictor.tokenize([TEXTS[0]], named("tokens"), None)
    assert sum(scores.values()) == pytest.approx(1)
    assert scores.keys() == set(heads.ENTAILMENT)
    assert sum(label.score for label in own[0]) == pytest.approx(1)
    assert all(entity.text == TEXTS[0][entity.start : entity.stop] for entity in entities)
    assert len(sparse.indices) == len(sparse.values) > 0
    assert vectors.rows == len(tokens)
