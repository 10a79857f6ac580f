"""Vectors and scores of upstream servers: texts share calls, and fail alone."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from server.errors import ErrorCode, PredictionError
from server.models.requests import AS_IT_IS, Reading
from tests.server.models.upstream.loading import context, load, loaded
from tests.server.waiting import error_of, result
from tests.support.upstream_server import SIZE, failure, giving, score_of, upstream_server, vector_of


def vectors(answers: list[bytes]) -> list[list[float]]:
    return [np.frombuffer(answer, "<f4").tolist() for answer in answers]


@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_texts_share_calls(encoding: str) -> None:
    texts = [f"text {place}" for place in range(10)]

    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        if encoding == "float" and body.get("encoding_format") == "base64":
            return failure(400, "no base64 here")
        return await server.behave(request, body)

    async with upstream_server(serves=("embeddings",)) as server:
        server.answer = answer
        model = await load(server.location, batch_items=4, upstream_calls=8)
        assert model.dimensions == SIZE
        assert model.normalized
        server.bodies.clear()
        requests = [model.embed(text, AS_IT_IS, context()) for text in texts]
        answers = await asyncio.gather(*map(result, requests))
        assert vectors(answers) == [vector_of(text).tolist() for text in texts]
        assert sorted(len(body["input"]) for body in server.bodies) == [2, 4, 4]
        alone = model.embed("a b c", AS_IT_IS, context())
        await result(alone)
        assert alone.tokens == 3
        assert model.stats()["completed"] == 11
        await model.close()


async def test_whether_a_text_is_cut_is_passed_on() -> None:
    async with loaded(owned_by="vllm") as (server, model):
        both = [model.embed("a", Reading(truncate=truncate), context()) for truncate in (True, False)]
        await asyncio.gather(*map(result, both))
        found = [body.get("truncate_prompt_tokens") for body in server.bodies]
        assert sorted(found, key=str) == [-1, None]


async def test_ranks_share_calls_a_query() -> None:
    async with loaded() as (server, model):
        pairs = [(query, text) for query in ("abc", "xyz") for text in ("a", "bx", "qq")]
        requests = [model.score_pair(*pair, True, False, context()) for pair in pairs]
        scores = await asyncio.gather(*map(result, requests))
        assert scores == [score_of(*pair) for pair in pairs]
        assert sorted(body["query"] for body in server.bodies) == ["abc", "xyz"]


async def test_ranks_in_the_form_of_text_embeddings_inference() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        if request.path != "/rerank" or "texts" not in body:
            return failure(422, "missing field texts")
        scores = [{"index": place, "score": score_of(body["query"], text)} for place, text in enumerate(body["texts"])]
        return web.json_response(scores[::-1])

    async with upstream_server() as server:
        server.answer = answer
        model = await load(server.location + ",serves=rerank")
        requests = [model.score_pair("abc", text, True, False, context()) for text in ("a", "qq")]
        assert await asyncio.gather(*map(result, requests)) == [1, 0]
        await model.close()


async def test_a_bad_text_fails_alone() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        if any("bad" in text for text in body["input"]):
            return failure(400, "a bad text")
        return await server.behave(request, body)

    async with loaded(serves=("embeddings",)) as (server, model):
        server.answer = answer
        requests = [model.embed(text, AS_IT_IS, context()) for text in ("a", "b", "bad", "c", "d")]
        answers = await asyncio.gather(*map(result, requests), return_exceptions=True)
        assert [type(each) for each in answers] == [bytes, bytes, PredictionError, bytes, bytes]
        assert answers[2].code == ErrorCode.INVALID_ARGUMENT  # type: ignore[union-attr]


async def test_vectors_of_another_size_are_no_answer() -> None:
    async with loaded(serves=("embeddings",)) as (server, model):
        server.answer = giving({"data": [{"index": 0, "embedding": [1.0]}]})
        assert (await error_of(model.embed("a", AS_IT_IS, context()))).code == ErrorCode.INTERNAL
