"""/rerank in its forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import Ranked

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

TEXTS = ["x", "ab", "aaab"]
SCORES = [0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-4))]


async def rerank(proxy: Proxy, path: str = "/rerank", **fields: Any) -> Answer:
    return await proxy.ask("POST", path, json={"query": "ab", **fields})


async def test_texts_are_answered_as_text_embeddings_inference_does(of_letters: Proxy) -> None:
    answer = await rerank(of_letters, texts=TEXTS)
    assert answer.json == [{"index": index, "score": pytest.approx(SCORES[index])} for index in (2, 1, 0)]
    answer = await rerank(of_letters, texts=TEXTS, top_n=1, raw_scores=True, return_text=True, truncate=False)
    assert answer.json == [{"index": 2, "score": 4.0, "text": "aaab"}]
    answer = await rerank(of_letters, texts=TEXTS, raw_scores=False, truncation_direction="Right")
    assert len(answer.json) == 3
    assert (await rerank(of_letters, texts=[])).json == []


async def test_documents_are_answered_as_cohere_and_jina_do(of_letters: Proxy) -> None:
    documents = [{"text": "x", "title": "not read"}, "ab", {"text": "aaab"}]
    best = {"index": 2, "relevance_score": pytest.approx(SCORES[2])}
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        answer = await rerank(of_letters, path, documents=documents, top_n=1)
        usage = {"prompt_tokens": 6, "total_tokens": 6}  # of all, though one is shown
        assert answer.json == {"id": answer.headers["X-Request-Id"], "results": [best], "usage": usage}
        answer = await rerank(of_letters, path, documents=documents, top_n=1, return_documents=True, model="letters")
        assert answer.json["model"] == "letters"
        assert answer.json["results"] == [{**best, "document": {"text": "aaab"}}]
    more = {"max_tokens_per_doc": 100, "rank_fields": ["text"]}
    assert (await rerank(of_letters, "/v2/rerank", documents=documents, **more)).status == 200


async def test_by_query(of_letters: Proxy) -> None:
    pairs = [("query", "ab"), *(("texts", text) for text in TEXTS), ("top_n", "2"), ("raw_scores", "true")]
    answer = await of_letters.ask("GET", "/rerank", params=pairs)
    assert answer.json == [{"index": 2, "score": 4.0}, {"index": 1, "score": 2.0}]


@pytest.mark.parametrize(
    ("fields", "status", "field", "part"),
    [
        ({}, 400, None, "give either texts or documents"),
        ({"texts": TEXTS, "documents": TEXTS}, 400, None, "give either texts or documents"),
        ({"texts": ["a", 1]}, 400, "texts[1]", "expected a string, got a number"),
        ({"documents": ["a", {"title": "b"}]}, 400, "documents[1].text", "this field is required"),
        ({"texts": TEXTS, "top_n": 0}, 400, "top_n", "must be at least 1"),
        ({"texts": TEXTS, "max_tokens_per_doc": 1}, 400, "max_tokens_per_doc", "there is no such field"),
        ({"texts": ["a", "b" * 21], "truncate": False}, 413, "texts[1]", "truncate is false"),
        ({"documents": ["a", "b" * 21], "truncate": False}, 413, "documents[1]", "truncate is false"),
        ({"texts": ["a"] * 2049}, 413, "texts", "over the limit of 2048 (setting max_docs)"),
        ({"texts": ["a", "nan"]}, 500, "texts[1]", "the model 'letters' gave numbers that are NaN or infinite"),
    ],
)
async def test_refusals(of_letters: Proxy, fields: Any, status: int, field: str | None, part: str) -> None:
    answer = await rerank(of_letters, **fields)
    error = answer.json["error"]
    assert (answer.status, error.get("field")) == (status, field), error
    assert part in error["message"]


async def test_the_query_is_required(of_letters: Proxy) -> None:
    answer = await of_letters.ask("POST", "/rerank", json={"texts": ["a"]})
    assert answer.json["error"]["field"] == "query"


async def test_tokens_are_counted(proxy: Proxy, server: ThriftServer) -> None:
    """Those of all documents, as the server says; where one has none, four bytes are taken for one."""
    server.rerank = lambda _query, texts, *_options: [  # type: ignore[method-assign]
        Ranked(index, 0.5, 10 + index) for index in reversed(range(len(texts)))
    ]
    answer = await rerank(proxy, "/v1/rerank", documents=TEXTS, top_n=2)
    assert answer.json["usage"] == {"prompt_tokens": 33, "total_tokens": 33}
    assert [one["index"] for one in answer.json["results"]] == [2, 1]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_errors_as_jinas_and_coheres_clients_read_them(of_letters: Proxy, path: str) -> None:
    answer = await rerank(of_letters, path, documents=["a"], model="none")
    assert answer.status == 404
    assert answer.json["detail"] == answer.json["message"] == answer.json["error"]["message"] != ""
