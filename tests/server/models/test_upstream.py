"""Models of upstream servers: what they serve, and what becomes of requests when the server does wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web
from predictor.ttypes import FinishReason
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ErrorCode, ModelError, PredictionError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.requests import AS_IT_IS, NO_SCORES, Reading, RequestContext, Sampling
from tests.server.waiting import error_of, result
from tests.support.service import free_port
from tests.support.upstream_server import (
    KEY,
    MODEL,
    SIZE,
    UpstreamServer,
    completion,
    failure,
    giving,
    saying,
    score_of,
    sending,
    sending_events,
    streaming,
    upstream_server,
    vector_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.models.upstream.model import UpstreamModel

USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
GREEDY = Sampling(3, 0, 0, 1, 1, (), 0)


def context(timeout_s: float = 60) -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + int(timeout_s * 1e9), None)


async def load(location: str, **settings: Any) -> UpstreamModel:
    model: UpstreamModel = await kinds.load(location, Settings(**{"upstream_start_s": 30} | settings))  # type: ignore[assignment]
    return model


@contextlib.asynccontextmanager
async def loaded(options: str = "", **settings: Any) -> AsyncIterator[tuple[UpstreamServer, UpstreamModel]]:
    about = {name: settings.pop(name) for name in ("owned_by", "context", "serves") if name in settings}
    async with upstream_server(**about) as server:
        model = await load(server.location + options, **settings)
        server.bodies.clear()
        try:
            yield server, model
        finally:
            server.go_on.set()
            await model.close()


async def generated(model: UpstreamModel, prompt: str = "a b", on_text: Any = None, **changes: Any) -> Any:
    sampling = GREEDY._replace(**{name: value for name, value in changes.items() if name in Sampling._fields})
    tokens = await model.prompt_tokens(prompt, sampling)
    return await result(model.generate(tokens, sampling, context(changes.get("timeout_s", 60)), on_text))


# ------------------------------------------------------------------------------------------------------- what it can do


@pytest.mark.parametrize(
    ("serves", "capabilities"),
    [
        ((), {Capability.GENERATE, Capability.CHAT, Capability.EMBED, Capability.RERANK}),
        (("chat/completions",), {Capability.CHAT}),
        (("completions",), {Capability.GENERATE}),
        (("embeddings",), {Capability.EMBED}),
        (("rerank",), {Capability.RERANK}),
    ],
)
async def test_capabilities_are_found_by_asking(serves: tuple[str, ...], capabilities: set[Capability]) -> None:
    async with loaded(serves=serves) as (_, model):
        assert set(model.capabilities) == capabilities


async def test_capabilities_that_the_location_names() -> None:
    async with loaded(",serves=embed+generate") as (server, model):
        assert model.capabilities == (Capability.EMBED, Capability.GENERATE)
        assert model.limits.max_output_tokens == 1024
        assert model.details == {
            "server": "vllm",
            "address": f"127.0.0.1:{server.port}",
            "upstream_model": MODEL,
            "context": "4096",
            "dimensions": str(SIZE),
        }
    async with upstream_server(serves=("embeddings",)) as server:
        with pytest.raises(ModelError, match=r"does not serve 'owner/small' so: generate: no /v1/completions"):
            await load(server.location + ",serves=embed+generate")


async def test_limits_follow_the_servers_context() -> None:
    async with loaded(context=100) as (_, model):
        assert model.limits.max_output_tokens == 99
    async with loaded(context=None, max_output_tokens=7) as (_, model):
        assert model.limits.max_output_tokens == 7
        assert "context" not in model.details


async def test_a_model_that_is_not_there() -> None:
    async with upstream_server() as server:
        with pytest.raises(ModelError, match=f"has no model 'another'; it has {MODEL}"):
            await load(f"openai://127.0.0.1:{server.port}/another")
        with pytest.raises(ModelError, match="server is 'x'; it must be one of openai, vllm"):
            await load(server.location + ",server=x")
        with pytest.raises(ModelError, match="serves is 'x'; it must be one of generate, chat, embed, rerank"):
            await load(server.location + ",serves=embed+x")
        with pytest.raises(ModelError, match="the option precision is for folders of Hugging Face"):
            await load(server.location + ",precision=int8")
    with pytest.raises(ModelError, match="the option serves is for models of upstream servers"):
        await kinds.load("tfserving://localhost:1/a,serves=embed", Settings())


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    port = free_port()
    with pytest.raises(ModelError, match=rf"no answer from 127.0.0.1:{port} in 0.2 s: .*\(setting upstream_start_s\)"):
        await load(f"openai://127.0.0.1:{port}/{MODEL}", upstream_start_s=0.2)
    loading = asyncio.create_task(load(f"openai://127.0.0.1:{port}/{MODEL}", upstream_start_s=60))
    server = UpstreamServer()
    server.answer = saying(503, "Loading model")
    await asyncio.sleep(0.2)
    await server.start(port)
    await server.until(lambda: server.begun)
    server.answer = None
    model = await loading
    assert Capability.GENERATE in model.capabilities
    await model.close()
    await server.stop()


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream_server() as server:
        server.key = KEY
        location = server.location
        with pytest.raises(ModelError, match=r"it does not accept our API key .*\(?setting upstream_keys"):
            await load(location)
        of_model = Settings(upstream_keys=("b=OTHER", "a=UPSTREAM_KEY")).of_model("a").upstream_keys
        with pytest.raises(ModelError, match="the environment variable UPSTREAM_KEY is not set"):
            await load(location, upstream_keys=of_model)
        monkeypatch.setenv("UPSTREAM_KEY", "sk\n")
        with pytest.raises(ModelError, match="the environment variable UPSTREAM_KEY has letters that no key has"):
            await load(location, upstream_keys=of_model)
        monkeypatch.setenv("UPSTREAM_KEY", KEY)
        with capture_logs() as logs:
            model = await load(location, upstream_keys=of_model)
            assert (await generated(model)).text == " 2 3 4"
            server.answer = saying(500, f"no {KEY}")
            await error_of(generated(model))
        assert KEY not in str(logs) + str(model.details)
        await model.close()


async def test_the_version_is_the_models_name_there() -> None:
    assert await kinds.version_of(f"openai://nowhere.invalid:1/{MODEL},serves=embed") == MODEL
    assert not kinds.is_same_location("openai://a:1/b", "openai://a:1/b")


# ------------------------------------------------------------------------------------------------------------ texts


async def test_a_text_whole_and_streamed() -> None:
    async with loaded() as (_, model):
        parts: list[tuple[str, int]] = []
        whole = await generated(model)
        streamed = await generated(model, on_text=lambda text, tokens, _: parts.append((text, tokens)))
        assert whole == (" 2 3 4", 3, FinishReason.LENGTH, 2, NO_SCORES)
        assert streamed == ("", 3, FinishReason.LENGTH, 2, NO_SCORES)
        assert parts == [(word, place + 1) for place, word in enumerate(words_of("a b", 3))]
        assert model.stats()["completed"] == 2


@pytest.mark.parametrize(
    ("owner", "fields"),
    [
        ("openai", {}),
        ("vllm", {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("sglang", {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("predictor", {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}),
    ],
)
async def test_options_that_are_left_out_mean_the_contracts_defaults(owner: str, fields: dict[str, Any]) -> None:
    async with loaded(owned_by=owner) as (server, model):
        await generated(model, temperature=1.0, seed=2**64 - 1)
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"model": MODEL, "prompt": "a b", "max_tokens": 3, "temperature": 1.0, "seed": 2**63 - 1}
        assert server.bodies == [body | fields | stream]


async def test_options_by_the_servers_own_names() -> None:
    options = {"temperature": 0.5, "top_k": 9, "top_p": 0.5, "repetition_penalty": 1.5, "stop": ("x",), "seed": 2**32}
    async with loaded(",server=llama.cpp", context=512) as (server, model):
        await generated(model, **options)
        (body,) = server.bodies
        assert {
            "temperature": 0.5,
            "top_k": 9,
            "top_p": 0.5,
            "min_p": 0.0,
            "repeat_penalty": 1.5,
            "repeat_last_n": 512,
            "stop": ["x"],
            "seed": 1,
        }.items() <= body.items()
    async with loaded(",server=vllm") as (server, model):
        await generated(model, **options)
        (body,) = server.bodies
        assert {"top_k": 9, "top_p": 0.5, "repetition_penalty": 1.5, "seed": 2**32}.items() <= body.items()


@pytest.mark.parametrize(("option", "value"), [("top_k", 1), ("repetition_penalty", 1.1), ("stop", tuple("abcde"))])
@pytest.mark.parametrize("server_name", ["openai", "tgi"])
async def test_options_that_a_server_lacks_are_refused_by_name(server_name: str, option: str, value: Any) -> None:
    async with loaded(f",server={server_name}") as (server, model):
        error = await error_of(generated(model, **{option: value}))
        assert (error.code, error.field) == (ErrorCode.INVALID_ARGUMENT, f"generation_options.{option}")
        assert not server.bodies


@pytest.mark.parametrize(
    ("reason", "more", "stop", "expected"),
    [
        ("length", {}, (), FinishReason.LENGTH),
        ("stop", {}, (), FinishReason.END_OF_TEXT),
        ("stop", {}, ("x",), FinishReason.STOP),
        ("stop", {"stop_reason": None}, ("x",), FinishReason.STOP),
        ("stop", {"stop_reason": "x"}, ("x",), FinishReason.STOP),
        ("stop", {"matched_stop": 7}, ("x",), FinishReason.END_OF_TEXT),
        ("eos_token", {}, ("x",), FinishReason.END_OF_TEXT),
        ("stop_sequence", {}, ("x",), FinishReason.STOP),
    ],
)
async def test_why_a_text_ends(reason: str, more: dict[str, Any], stop: tuple[str, ...], expected: int) -> None:
    async with loaded() as (server, model):
        server.answer = sending_events(completion("a", reason, USAGE, **more))
        assert (await generated(model, stop=stop)).finish_reason == expected


async def test_a_stream_without_usage_counts_its_events() -> None:
    async with loaded() as (server, model):
        server.answer = streaming(
            *[f'data: {{"choices": [{{"text": "{letter}"}}]}}\n\n' for letter in "ab"],
            'data: {"choices": [{"text": "", "finish_reason": "stop"}]}\n\n',
        )
        assert await generated(model, on_text=lambda *_: None) == ("", 2, FinishReason.END_OF_TEXT, None, NO_SCORES)


@pytest.mark.parametrize(
    "answer",
    [
        completion("a", None, USAGE),
        completion("a", "abort", USAGE),
        {"choices": [], "usage": USAGE},
        {"choices": None},
        "x",
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_wrong_text_is_the_servers_fault(answer: Any, streams: bool) -> None:
    async with loaded(upstream_retry_ms=0) as (server, model):
        server.answer = sending_events(answer)
        with capture_logs() as logs:
            error = await error_of(generated(model, on_text=(lambda *_: None) if streams else None))
        assert error.code == ErrorCode.UNAVAILABLE if "cut off" in error.message else ErrorCode.INTERNAL
        if error.code == ErrorCode.INTERNAL:
            assert "upstream" not in error.message
            assert f"the upstream server at 127.0.0.1:{server.port}: " in logs[-1]["error"]
        server.answer = None
        assert (await generated(model)).text == " 2 3 4"


async def test_a_text_that_goes_on_after_its_end_or_is_too_long() -> None:
    async with loaded(message_bytes=4096) as (server, model):
        end = 'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\n'
        server.answer = streaming(end, end)
        assert (await error_of(generated(model, on_text=lambda *_: None))).code == ErrorCode.INTERNAL
        server.answer = streaming(*[f'data: {{"choices": [{{"text": "{1000 * "a"}"}}]}}\n\n'] * 5, end)
        assert (await error_of(generated(model, on_text=lambda *_: None))).code == ErrorCode.INTERNAL


async def test_a_listener_that_fails_is_not_the_servers_fault() -> None:
    async with loaded() as (_, model):
        with capture_logs() as logs:
            done = await generated(model, on_text=lambda *_: 1 / 0)
        assert done.token_count == 3
        assert {entry["event"] for entry in logs} == {"a part of a text could not be handed over"}


async def test_prompts_have_the_servers_limit() -> None:
    async with loaded(max_message_bytes=10) as (server, model):
        error = await error_of(generated(model, "a" * 11))
        assert (error.code, error.setting) == (ErrorCode.TOO_LARGE, "max_message_bytes")
        server.answer = saying(400, "This model's maximum context length is 10 tokens")
        error = await error_of(generated(model))
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert error.message.endswith("This model's maximum context length is 10 tokens")


# ------------------------------------------------------------------------------------------------- vectors and scores


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


# ------------------------------------------------------------------------------------------------ when things go wrong


async def test_a_busy_server_says_when_to_come_again() -> None:
    async with loaded() as (server, model):
        server.answer = saying(429, "slowly", Retry_After="0.2")
        error = await error_of(generated(model))
        assert (error.code, error.retry_after_ms) == (ErrorCode.OVERLOADED, 200)
        asked = len(server.bodies)
        error = await error_of(generated(model))  # nobody asks meanwhile
        assert error.code == ErrorCode.OVERLOADED
        assert 0 < (error.retry_after_ms or 0) <= 201
        assert len(server.bodies) == asked
        server.answer = None
        await asyncio.sleep(0.25)
        assert (await generated(model)).text == " 2 3 4"


async def test_calls_are_made_again_where_nothing_has_come() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        tries.append(body)
        if len(tries) < 3:
            return await sending(b"HTTP/1.1 200 OK\r\n")(request, body)
        return await server.behave(request, body)

    async with loaded() as (server, model):
        server.answer = answer
        for on_text in (None, lambda *_: None):
            tries: list[Any] = []
            assert (await generated(model, on_text=on_text)).token_count == 3
            assert len(tries) == 3


async def test_connections_that_the_server_has_just_closed_are_no_failures() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        port = request.transport.get_extra_info("peername")[1]  # type: ignore[union-attr]
        if port in ports:
            return await sending(b"")(request, body)
        ports.add(port)
        return await server.behave(request, body)

    ports: set[int] = set()
    async with loaded(upstream_retry_ms=0) as (server, model):
        server.answer = answer
        for _ in range(5):
            assert (await generated(model)).token_count == 3
            assert await result(model.embed("a", AS_IT_IS, context()))


async def test_a_stream_that_is_cut_is_not_made_again() -> None:
    async with loaded() as (server, model):
        parts: list[str] = []
        server.answer = streaming('data: {"choices": [{"text": "a"}]}\n\n', cut=True)
        error = await error_of(generated(model, on_text=lambda text, *_: parts.append(text)))
        assert error.code == ErrorCode.UNAVAILABLE
        assert error.retry_after_ms == 1000
        assert parts == ["a"]
        assert len(server.bodies) == 1


async def test_a_server_that_goes_away_and_comes_back() -> None:
    async with loaded(upstream_retry_ms=100) as (server, model):
        port = server.port
        await server.stop()
        error = await error_of(generated(model))
        assert error.code == ErrorCode.UNAVAILABLE
        assert error.retry_after_ms == 1000
        begin = time.monotonic()
        assert (await error_of(generated(model))).code == ErrorCode.UNAVAILABLE  # at once: it has been tried
        assert time.monotonic() - begin < 5
        await server.start(port)
        assert (await generated(model)).text == " 2 3 4"
        model._patience._retry_s = 60
        await server.stop()
        waiting = asyncio.create_task(generated(model))
        await asyncio.sleep(0.1)
        await server.start(port)
        assert (await waiting).text == " 2 3 4"


async def test_cancelling_and_deadlines_end_the_servers_work() -> None:
    async with loaded() as (server, model):
        server.go_on.clear()
        begun = server.begun
        requests = [model.embed("a", AS_IT_IS, context()), model.score_pair("a", "b", True, False, context())]
        await server.until(lambda: server.begun > begun)
        for request in requests:
            request.abandon()
        await server.until(lambda: server.ended == server.begun)
        begun = server.begun
        error = await error_of(generated(model, timeout_s=0.1))
        assert error.code == ErrorCode.DEADLINE_EXCEEDED
        assert server.begun == begun + 1
        await server.until(lambda: server.ended == server.begun)
        assert model.stats()["expired"] == 1
        assert model.stats()["cancelled"] == 2


async def test_calls_and_queue_are_bounded() -> None:
    async with loaded(upstream_calls=2, queue_items=3) as (server, model):
        server.go_on.clear()
        server.most = 0
        waiting = []
        for _ in range(5):
            waiting.append(asyncio.create_task(generated(model)))
            await asyncio.sleep(0.01)
        await server.until(lambda: server.begun - server.ended == 2)
        error = await error_of(generated(model))
        assert (error.code, error.setting) == (ErrorCode.OVERLOADED, "queue_items")
        assert model.stats()["running"] == 2
        assert model.stats()["waiting"] == 3
        server.go_on.set()
        assert [done.text for done in await asyncio.gather(*waiting)] == [" 2 3 4"] * 5
        assert server.most == 2


async def test_closing_answers_what_was_accepted() -> None:
    async with upstream_server() as server:
        model = await load(server.location)
        server.go_on.clear()
        waiting = asyncio.create_task(generated(model))
        begun = server.begun
        await server.until(lambda: server.begun > begun)
        closing = asyncio.create_task(model.close())
        await asyncio.sleep(0.05)
        server.go_on.set()
        assert (await waiting).text == " 2 3 4"
        await closing
        assert (await error_of(generated(model))).code == ErrorCode.UNAVAILABLE
