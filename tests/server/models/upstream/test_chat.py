"""Conversations with models of upstream servers, and their options of texts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ChatMessage, ChatOptions, FinishReason, TokenLogprob, ToolCall, TopLogprob

from server.errors import ErrorCode
from server.models.chat.conversation import conversation_of
from server.models.requests import NO_SCORES
from tests.server.models.upstream.loading import GREEDY, USAGE, context, generated, loaded
from tests.server.waiting import error_of, result
from tests.support.upstream_server import (
    UpstreamServer,
    begin_events,
    chat_event,
    completion,
    failure,
    saying,
    send_event,
    sending_events,
    streaming,
)

if TYPE_CHECKING:
    from aiohttp import web

    from server.models.upstream.model import UpstreamModel

MESSAGES = [ChatMessage("system", "be brief"), ChatMessage("user", "one two")]
TOOL = '{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}'
END = {"choices": [], "usage": USAGE}


async def said(
    model: UpstreamModel,
    messages: list[ChatMessage] | None = None,
    chat_options: ChatOptions | None = None,
    on_part: Any = None,
    timeout_s: float = 60,
    **changes: Any,
) -> Any:
    conversation = conversation_of(messages or MESSAGES, chat_options)
    prompt = await model.chat_prompt(conversation, context())
    return await result(model.chat(prompt, GREEDY._replace(**changes), context(timeout_s), on_part))


def call_event(index: int, **function: str) -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": function}
    if "name" in function:
        call |= {"id": f"id-{index}", "type": "function"}
    return chat_event(None, tool_calls=[call])


async def test_an_answer_whole_and_streamed() -> None:
    async with loaded() as (server, model):
        parts: list[str] = []
        whole = await said(model)
        streamed = await said(model, on_part=lambda text, *_: parts.append(text))
        assert whole == (" 4 5 6", [], 3, FinishReason.LENGTH, 4, NO_SCORES)
        assert streamed == whole._replace(text="")
        assert "".join(parts) == whole.text
        assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]
        assert server.bodies[0]["max_tokens"] == 3


async def test_what_messages_say_is_passed_on() -> None:
    messages = [
        ChatMessage("user", "one", name="Ann"),
        ChatMessage("assistant", None, tool_calls=[ToolCall("7", "add", '{"a": 1}')]),
        ChatMessage("tool", "2", tool_call_id="7"),
        ChatMessage("assistant", "so", reasoning_content="hm"),
    ]
    options = ChatOptions(tools=[TOOL], continue_final_message=True, template_arguments='{"enable_thinking": false}')
    async with loaded() as (server, model):
        await said(model, messages, options)
        (body,) = server.bodies
        call = {"id": "7", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
        assert body["messages"] == [
            {"role": "user", "content": "one", "name": "Ann"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "2", "tool_call_id": "7"},
            {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        ]
        assert body["tools"][0]["function"]["name"] == "add"
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (ChatOptions(template_arguments='{"a": 1}'), "chat_options.template_arguments"),
        (ChatOptions(continue_final_message=True), "chat_options.continue_final_message"),
        (ChatOptions(add_generation_prompt=False), "chat_options.add_generation_prompt"),
        (ChatOptions(tools=[TOOL], parse_tool_calls=False), "chat_options.parse_tool_calls"),
    ],
)
async def test_options_of_conversations_that_a_server_lacks_are_refused(options: ChatOptions, field: str) -> None:
    async with loaded(owned_by="someone") as (server, model):
        error = await error_of(said(model, chat_options=options))
        assert (error.code, error.field) == (ErrorCode.INVALID_ARGUMENT, field)
        error = await error_of(said(model, [ChatMessage("assistant", "a", reasoning_content="b")]))
        assert error.field == "messages[0].reasoning_content"
        assert not server.bodies


async def test_calls_of_tools_come_whole() -> None:
    async with loaded() as (server, model):
        server.answer = sending_events(
            chat_event("wait"),
            call_event(0, name="add", arguments=""),
            call_event(0, arguments='{"a":'),
            call_event(0, arguments=" 1}"),
            call_event(1, name="now"),
            chat_event(None, "tool_calls"),
            END,
        )
        expected = [ToolCall("id-0", "add", '{"a": 1}'), ToolCall("id-1", "now", "{}")]
        whole = await said(model, chat_options=ChatOptions(tools=[TOOL]))
        assert (whole.text, whole.tool_calls, whole.finish_reason) == ("wait", expected, FinishReason.END_OF_TEXT)
        assert (await said(model, on_part=lambda *_: None)).tool_calls == expected


async def test_a_call_that_is_cut_is_text() -> None:
    async with loaded() as (server, model):
        server.answer = sending_events(call_event(0, name="add", arguments='{"a":'), chat_event(None, "length"), END)
        done = await said(model)
        assert (done.text, done.tool_calls) == ('{"name": "add", "arguments": {"a":', [])
        assert done.finish_reason == FinishReason.LENGTH


@pytest.mark.parametrize(
    "event",
    [
        chat_event(None, tool_calls={}),
        chat_event(None, tool_calls=[1]),
        call_event(1, name="a"),
        call_event(-1, name="a"),
        call_event("0", name="a"),  # type: ignore[arg-type]
        call_event(0, name=1),  # type: ignore[arg-type]
        chat_event(None, tool_calls=[{"index": 0, "function": []}, 2]),
        chat_event(["a"]),  # type: ignore[arg-type]
        {"choices": [{"delta": 1}]},
        {"choices": [{}]},
        {"choices": [{"delta": {}, "finish_reason": "content_filter"}]},
    ],
)
async def test_a_wrong_answer_is_the_servers_fault(event: Any) -> None:
    async with loaded() as (server, model):
        server.answer = sending_events(event, chat_event("", "stop"), END)
        assert (await error_of(said(model))).code == ErrorCode.INTERNAL


async def test_max_tokens_for_which_there_is_no_room() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        if body.get("max_tokens", 0) > 5:
            return failure(400, "maximum context length")
        return await server.behave(request, body)

    async with loaded() as (server, model):
        server.answer = answer
        assert (await said(model, max_tokens=9, clamp_max_tokens=True)).token_count == 8
        error = await error_of(said(model, max_tokens=9))
        assert error.message.endswith("maximum context length")


async def test_a_server_that_knows_no_end_is_left() -> None:
    async with loaded() as (server, model):
        server.answer = streaming(*['data: {"choices": [{"delta": {"content": "a"}}]}\n\n'] * 100)
        done = await said(model)
        assert done.finish_reason == FinishReason.LENGTH
        assert 3 <= done.token_count < 30


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("ask", [generated, said])
async def test_a_text_whose_deadline_passes_is_what_there_is(ask: Any, streams: bool) -> None:
    async with loaded() as (server, model):
        parts: list[str] = []
        on_part = (lambda text, *_: parts.append(text)) if streams else None

        async def slowly(request: web.Request, body: Any) -> web.StreamResponse:
            event = chat_event if ask is said else completion
            response = await begin_events(request)
            await send_event(response, event("one"))
            await asyncio.Event().wait()
            return response

        server.answer = slowly
        begin = time.monotonic()
        done = await ask(model, timeout_s=0.3, **{"on_part" if ask is said else "on_text": on_part})
        assert time.monotonic() - begin < 10
        assert done.finish_reason == FinishReason.DEADLINE
        assert "".join(parts) + done.text == "one"
        assert done.token_count == 1
        assert done.prompt_tokens is None
        await server.until(lambda: server.begun == server.ended)


async def test_chat_prompt_is_the_servers_own_matter() -> None:
    async with loaded() as (_, model):
        error = await error_of(model.chat_text(conversation_of(MESSAGES, None), context()))
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert "the upstream server has the model's chat template" in error.message


async def test_conversations_have_the_servers_limit() -> None:
    async with loaded(max_message_bytes=10) as (server, model):
        error = await error_of(said(model, [ChatMessage("user", "a" * 11)]))
        assert (error.code, error.field, error.setting) == (ErrorCode.TOO_LARGE, "messages", "max_message_bytes")
        server.answer = saying(400, "no such role")
        assert (await error_of(said(model, [ChatMessage("x", "a")]))).message.endswith("no such role")


# ----------------------------------------------------------------------------------------------------- options of texts


def options_of(server: UpstreamServer) -> dict[str, Any]:
    return {name: value for name, value in server.bodies[-1].items() if name not in ("model", "prompt", "messages")}


GIVEN: dict[str, Any] = {
    "top_k": 5,
    "repetition_penalty": 1.5,
    "min_p": 0.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "min_tokens": 2,
    "stop_token_ids": (7,),
    "ignore_eos": True,
    "logit_bias": {7: -100.0},
    "logprobs": 0,
}
TAKEN = {
    "openai": {"presence_penalty", "frequency_penalty", "logit_bias"},
    "tgi": {"presence_penalty", "frequency_penalty"},
    "vllm": GIVEN.keys() - {"logprobs"},
    "sglang": GIVEN.keys() - {"logprobs"},
    "predictor": GIVEN.keys() - {"logprobs"},
    "llama.cpp": GIVEN.keys() - {"min_tokens", "stop_token_ids"},
}


@pytest.mark.parametrize("server_name", TAKEN)
async def test_every_option_is_passed_on_or_refused_by_name(server_name: str) -> None:
    names = {"repetition_penalty": "repeat_penalty"} if server_name == "llama.cpp" else {}
    values = {"stop_token_ids": [7], "logit_bias": {"7": -100.0}, "logprobs": 1}
    async with loaded(f",server={server_name}") as (server, model):
        for name, value in GIVEN.items():
            server.bodies.clear()
            if name in TAKEN[server_name]:
                await generated(model, **{name: value})
                assert options_of(server)[names.get(name, name)] == values.get(name, value)
            else:
                for ask in (generated, said):
                    error = await error_of(ask(model, **{name: value}))
                    assert error.field == f"generation_options.{name}"
                assert not server.bodies


@pytest.mark.parametrize(("name", "value"), [("prompt_logprobs", 1), ("prompt_token_ids", (1, 2))])
async def test_options_that_no_server_is_asked_for(name: str, value: Any) -> None:
    for server_name in TAKEN:
        async with loaded(f",server={server_name}") as (_, model):
            error = await error_of(generated(model, **{name: value}))
            assert error.field == f"generation_options.{name}"


async def test_penalties_look_back_over_the_whole_context() -> None:
    async with loaded(",server=llama.cpp", context=300) as (server, model):
        await generated(model)
        assert "repeat_last_n" not in options_of(server)
        for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
            await generated(model, **{name: 1.5})
            assert options_of(server)["repeat_last_n"] == 300


async def test_the_least_top_p_is_the_likeliest_token() -> None:
    async with loaded() as (server, model):
        await generated(model, top_p=0.0, temperature=1.0)
        assert options_of(server)["top_p"] == 1e-6


async def test_scores_of_tokens() -> None:
    def scored(text: str, token: int) -> dict[str, Any]:
        tops = [
            {"id": other, "token": str(other), "bytes": [48 + other], "logprob": -float(other)} for other in range(3)
        ]
        one = {"id": token, "token": text, "bytes": list(text.encode()), "logprob": -1, "top_logprobs": tops}
        return completion(text, logprobs={"content": [one]})

    async with loaded(",server=llama.cpp") as (server, model):
        server.answer = sending_events(scored("a", 3), scored("b", 4), completion("", "stop"), END)
        done = await generated(model, logprobs=2)
        tops = [TopLogprob(0, "0", b"0", 0.0), TopLogprob(1, "1", b"1", -1.0)]
        expected = [TokenLogprob(3, "a", b"a", -1.0, tops), TokenLogprob(4, "b", b"b", -1.0, tops)]
        assert done.scores.generated == expected
        parts: list[Any] = []
        await generated(model, logprobs=0, on_text=lambda text, tokens, scores: parts.append(scores.generated))
        assert [one.id for part in parts for one in part] == [3, 4]
        assert all(one.top == [] for part in parts for one in part)
        for wrong in ({"id": -1}, {"logprob": "x"}, {"bytes": [256]}, {"token": None}, {"top_logprobs": 1}):
            event = scored("a", 3)
            event["choices"][0]["logprobs"]["content"][0] |= wrong
            server.answer = sending_events(event, completion("", "stop"), END)
            assert (await error_of(generated(model, logprobs=1))).code == ErrorCode.INTERNAL
