"""Every kind of folder behind every route that asks for it: the answers of transformers and sentence-transformers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.e2e.folders import made
from tests.support.folders import heads, reference
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

TEXTS = ["the harbour is small and the boat is old", "Wake me up at half past six", "will it rain in Übersee?", ""]
QUERY = "when does the boat leave the harbour"
LABELS = ["alarm", "weather", "music"]


@pytest.fixture(scope="module")
def folders(shared_files: SharedFiles) -> dict[str, Path]:
    return made(shared_files)


@pytest.fixture(scope="module")
def service(folders: dict[str, Path]) -> Iterator[Service]:
    with Service(*(flag for name, path in folders.items() for flag in ("--model", f"{name}={path}"))) as running:
        yield running


def ask(service: Service, path: str, **fields: Any) -> Any:
    answer = service.http(path, method="POST", body=json.dumps(fields), headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer.text
    return answer.json()


def softmax(rows: Any) -> Any:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_labels(service: Service, folders: dict[str, Path]) -> None:
    logits = reference.logits(folders["topics"], TEXTS)
    for options, scores in (({"top_k": 4}, softmax(logits)), ({"raw_scores": True}, logits)):
        answers = ask(service, "/predict", docs=TEXTS, model="topics", **options)["results"]
        for answer, row in zip(answers, scores, strict=True):
            assert answer["scores"] == pytest.approx(dict(zip(heads.TOPICS, row.tolist(), strict=True)), abs=1e-4)
            assert list(answer["scores"].values()) == sorted(answer["scores"].values(), reverse=True)


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_of_the_callers_own(service: Service, folders: dict[str, Path], multi_label: bool) -> None:
    texts = TEXTS[:3]  # the pipeline refuses the empty one
    fields = {"docs": texts, "model": "nli", "candidate_labels": LABELS, "multi_label": multi_label}
    answers = ask(service, "/predict", **fields)["results"]
    wanted = reference.zero_shot(folders["nli"], texts, LABELS, multi_label=multi_label)
    assert [answer["scores"] for answer in answers] == [pytest.approx(scores, abs=1e-4) for scores in wanted]


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
def test_entities(service: Service, folders: dict[str, Path], aggregation: str) -> None:
    answers = ask(service, "/classify_tokens", texts=TEXTS, aggregation=aggregation)["results"]
    wanted = reference.spans(folders["tags"], TEXTS, aggregation)
    assert sum(map(len, wanted)) > 3
    for text, answer, spans in zip(TEXTS, answers, wanted, strict=True):
        found = [(one["label"], one["start"], one["stop"]) for one in answer["entities"]]
        assert found == [(span["label"], span["start"], span["end"]) for span in spans]
        scores = [one["score"] for one in answer["entities"]]
        assert scores == pytest.approx([span["score"] for span in spans], abs=1e-4)
        assert [one["text"] for one in answer["entities"]] == [text[span["start"] : span["end"]] for span in spans]


def test_ranks(service: Service, folders: dict[str, Path]) -> None:
    wanted = reference.scores(folders["reranker"], [(QUERY, text) for text in TEXTS])
    ranked = ask(service, "/rerank", query=QUERY, texts=TEXTS)
    assert [one["score"] for one in ranked] == pytest.approx(sorted(wanted.tolist(), reverse=True), abs=1e-4)
    assert {one["index"]: one["score"] for one in ranked} == pytest.approx(dict(enumerate(wanted.tolist())), abs=1e-4)
    raw = ask(service, "/v2/rerank", model="reranker", query=QUERY, documents=TEXTS, raw_scores=True, top_n=1)
    (best,) = raw["results"]
    assert 1 / (1 + math.exp(-best["relevance_score"])) == pytest.approx(float(wanted.max()), abs=1e-4)
    tokens = ask(service, "/tokenize", inputs=[QUERY, *TEXTS], add_special_tokens=False, model="reranker")
    query, *of_texts = map(len, tokens)
    assert raw["usage"]["total_tokens"] == sum(query + count + 3 for count in of_texts), "[CLS] ... [SEP] ... [SEP]"


def test_ids_of_another_tokenizer_as_langchain_sends_them(service: Service) -> None:
    """Unless it is told check_embedding_ctx_length=False: those of "Hello world" by OpenAI's tokenizer."""
    fields = {"model": "encoder", "input": [[9906, 1917]], "encoding_format": "base64"}
    headers = {"Content-Type": "application/json"}
    answer = service.http("/v1/embeddings", method="POST", body=json.dumps(fields), headers=headers)
    error = answer.json()["error"]
    assert (answer.status, error["param"], error["type"]) == (400, "input[0]", "invalid_request_error")
    assert "send the text instead" in error["message"]


def test_vectors(service: Service, folders: dict[str, Path]) -> None:
    for options, encode in (
        ({}, {}),
        ({"prompt_name": "query"}, {"prompt_name": "query"}),
        ({"prompt": "a lamp: "}, {"prompt": "a lamp: "}),
        ({"dimensions": 16}, {"truncate_dim": 16, "normalize_embeddings": True}),
        ({"dimensions": 16, "normalize": False}, {"truncate_dim": 16}),
    ):
        found = np.array(ask(service, "/embed", texts=TEXTS, **options)["embeddings"])
        assert found == pytest.approx(reference.vectors(folders["encoder"], TEXTS, **encode), abs=1e-5), options
    bits = np.array(ask(service, "/embed", texts=TEXTS, encoding="binary")["embeddings"])
    assert (bits == reference.vectors(folders["encoder"], TEXTS, precision="ubinary")).all()


def test_token_ids_are_as_good_as_texts(service: Service) -> None:
    results = ask(service, "/tokenize", texts=TEXTS, model="encoder")["results"]
    ids = [[token["id"] for token in result["tokens"]] for result in results]
    vectors = [ask(service, "/v1/embeddings", model="encoder", input=given)["data"] for given in (TEXTS, ids)]
    of_texts, of_ids = (np.array([item["embedding"] for item in data]) for data in vectors)
    assert of_ids == pytest.approx(of_texts, abs=1e-6)


@pytest.mark.parametrize("ids", [[9906, 1917], [[101, 9906, 1917]], [[]]])
def test_ids_of_another_tokenizer_are_refused(service: Service, ids: Any) -> None:
    """As LangChain's OpenAIEmbeddings sends them if it is not told otherwise."""
    body = json.dumps({"model": "encoder", "input": ids})
    answer = service.http("/v1/embeddings", method="POST", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["param"] == "input[0]"
    assert "([CLS] ... [SEP])" in error["message"] or "token ids" in error["message"]


def test_sparse_vectors(service: Service, folders: dict[str, Path]) -> None:
    wanted = reference.sparse_vectors(folders["splade"], TEXTS)
    found = ask(service, "/embed_sparse", texts=TEXTS)["embeddings"]
    for vector, row in zip(found, wanted, strict=True):
        assert vector["indices"] == np.flatnonzero(row).tolist()
        assert vector["values"] == pytest.approx(row[row != 0].tolist(), abs=1e-4)


def test_vectors_of_tokens(service: Service, folders: dict[str, Path]) -> None:
    wanted = reference.token_vectors(folders["colbert"], TEXTS)
    found = ask(service, "/embed_tokens", texts=TEXTS, prompt_name="document")["embeddings"]
    for vectors, rows in zip(found, wanted, strict=True):
        assert np.array(vectors) == pytest.approx(rows, abs=1e-5)
