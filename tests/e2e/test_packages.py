"""Packages of models that the server does not know, behind the routes, and with requests in great numbers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support import exports, sentences
from tests.support.folders import reference
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Exported = Callable[[str], Path]

QUERY = "when does the boat leave the harbour"


@pytest.fixture(scope="module")
def service(exported: Exported) -> Iterator[Service]:
    with Service(exported("encoder"), "--model", f"reranker={exported('reranker')}", "--replicas", "2") as running:
        yield running


def ask(service: Service, path: str, **fields: Any) -> Any:
    answer = service.http(path, method="POST", body=json.dumps(fields), headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer.text
    return answer.json()


def test_vectors_of_many_callers(service: Service, exported: Exported) -> None:
    texts = sentences.texts(120)
    right = reference.vectors(exports.source(exported("encoder")), texts)
    with ThreadPoolExecutor(8) as callers:
        parts = [texts[start : start + 10] for start in range(0, len(texts), 10)]
        answers = list(callers.map(lambda part: ask(service, "/embed", texts=part)["embeddings"], parts))
    found = np.concatenate([np.array(answer, np.float32) for answer in answers])
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_ranks(service: Service, exported: Exported) -> None:
    texts = sentences.texts(30)
    scores = reference.scores(exports.source(exported("reranker")), [(QUERY, text) for text in texts])
    found = ask(service, "/rerank", model="reranker", query=QUERY, texts=texts)
    by_index = {part["index"]: part["score"] for part in found}
    assert by_index == pytest.approx(dict(enumerate(scores.tolist())), abs=1e-4)
