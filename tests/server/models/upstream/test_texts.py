"""Texts of upstream servers: options, ends, streams, limits."""

from __future__ import annotations

from typing import Any

import pytest
from predictor.ttypes import FinishReason
from structlog.testing import capture_logs

from server.errors import ErrorCode
from server.models.requests import NO_SCORES
from tests.server.models.upstream.loading import USAGE, generated, loaded
from tests.server.waiting import error_of
from tests.support.upstream_server import MODEL, completion, saying, sending_events, streaming, words_of


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
