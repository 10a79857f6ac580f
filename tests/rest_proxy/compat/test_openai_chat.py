"""/v1/chat/completions, asked by OpenAI's own client, and what it would not send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI
from predictor.ttypes import (
    ChatCompletion,
    ChatMessage,
    ChatOptions,
    ErrorCode,
    FinishReason,
    GenerationChunk,
    PredictionError,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)

from tests.rest_proxy.thrift_server import WORDS, ThriftServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rest_proxy.conftest import Proxy

TEXT = "".join(WORDS)
PATH = "/v1/chat/completions"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOL: Any = {"type": "function", "function": {"name": "f", "description": "ü", "parameters": {"type": "object"}}}
CALL = ToolCall("abc", "f", '{"a": "ü"}')
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, for the proxy."""
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def collected(stream: Any) -> list[Any]:
    return [part async for part in stream]


def arguments(server: ThriftServer, method: str = "chat") -> tuple[Any, ...]:
    """Of the only call."""
    [found] = server.named(method)
    return found


async def test_an_answer(client: AsyncOpenAI, server: ThriftServer) -> None:
    answer = await client.chat.completions.create(
        model="chat", messages=HELLO, max_completion_tokens=9, temperature=0.5, top_p=0.9, stop="x", seed=3
    )
    [choice] = answer.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", TEXT)
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)
    assert answer.usage.to_dict() == USAGE
    assert (answer.object, answer.model) == ("chat.completion", "chat")
    assert answer.id.startswith("chatcmpl-")
    messages, how, options, chat_options = arguments(server)
    assert messages == [ChatMessage("user", "Hello")]
    assert (how.max_tokens, how.temperature, how.top_p, how.stop, how.seed) == (9, 0.5, 0.9, ["x"], 3)
    assert options.model == "chat"
    assert chat_options == ChatOptions()


async def test_a_stream(client: AsyncOpenAI, server: ThriftServer) -> None:
    parts = await collected(
        await client.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    *texts, last, usage = parts
    assert texts[0].choices[0].delta.to_dict() == {"role": "assistant", "content": ""}
    assert [part.choices[0].delta.content for part in texts[1:]] == WORDS
    assert (last.choices[0].delta.to_dict(), last.choices[0].finish_reason) == ({}, "length")
    assert all(part.choices[0].finish_reason is None for part in texts)
    assert (usage.choices, usage.usage.to_dict()) == ([], USAGE)
    assert {part.object for part in parts} == {"chat.completion.chunk"}
    assert len({part.id for part in parts}) == 1
    assert arguments(server, "chat_begin")[0] == [ChatMessage("user", "Hello")]


async def test_a_stream_on_the_wire(proxy: Proxy) -> None:
    answer = await proxy.ask("POST", PATH, json={"messages": HELLO, "stream": True})
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = answer.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-2])


async def test_several_answers(client: AsyncOpenAI, server: ThriftServer) -> None:
    answer = await client.chat.completions.create(model="chat", messages=HELLO, n=3, seed=(1 << 63) - 1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.to_dict() == {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}
    seeds = {how.seed for _, how, _, _ in server.named("chat")}
    assert seeds == {(1 << 63) - 1, -(1 << 63), -(1 << 63) + 1}
    parts = await collected(await client.chat.completions.create(model="chat", messages=HELLO, n=2, stream=True))
    for index in (0, 1):
        own = [part.choices[0] for part in parts if part.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in own) == TEXT
        assert own[-1].finish_reason == "length"


async def test_messages_of_every_kind(client: AsyncOpenAI, server: ThriftServer) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "be brief", "name": "me"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [{"id": "abc", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "abc", "content": "3", "unknown": {}},
        {"role": "assistant", "content": "4", "reasoning": "hm"},
    ]
    await client.chat.completions.create(model="chat", messages=messages)
    assert arguments(server)[0] == [
        ChatMessage("developer", "be brief", "me"),
        ChatMessage("user", "one\ntwo"),
        ChatMessage("assistant", tool_calls=[ToolCall("abc", "f", '{"a": 1}')]),
        ChatMessage("tool", "3", tool_call_id="abc"),
        ChatMessage("assistant", "4", reasoning_content="hm"),
    ]


async def test_calls_of_tools(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.completion = ChatCompletion("", [CALL, CALL], 4, FinishReason.END_OF_TEXT, 3)
    answer = await client.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL], tool_choice="auto")
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls: Any = choice.message.tool_calls
    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("abc", "function", "f", '{"a": "ü"}')
    ] * 2
    [tool] = arguments(server)[3].tools
    assert json.loads(tool) == TOOL
    server.chunks = [
        GenerationChunk("I look", 1),
        GenerationChunk("", 2, tool_calls=[CALL]),
        GenerationChunk("", 4, FinishReason.END_OF_TEXT, 3, tool_calls=[CALL]),
    ]
    stream = await client.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL], stream=True)
    deltas = [part.choices[0].delta for part in await collected(stream)]
    told = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [(call.index, call.id, call.function.name, call.function.arguments) for call in told] == [
        (0, "abc", "f", '{"a": "ü"}'),
        (1, "abc", "f", '{"a": "ü"}'),
    ]
    assert [delta.content for delta in deltas if delta.content] == ["I look"]


async def test_no_tools_when_none_is_chosen(client: AsyncOpenAI, server: ThriftServer) -> None:
    await client.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL], tool_choice="none")
    assert arguments(server)[3].tools is None


async def test_what_the_template_is_told(client: AsyncOpenAI, server: ThriftServer) -> None:
    further = {
        "chat_template_kwargs": {"enable_thinking": False},
        "add_generation_prompt": False,
        "continue_final_message": True,
        "top_k": 5,
        "repetition_penalty": 1.5,
        "timeout_ms": 5000,
        "no_such_field": [1],
    }
    await client.chat.completions.create(model="chat", messages=HELLO, extra_body=further, user="u", store=True)
    _, how, options, chat_options = arguments(server)
    assert json.loads(chat_options.template_arguments) == {"enable_thinking": False}
    assert (chat_options.add_generation_prompt, chat_options.continue_final_message) == (False, True)
    assert (how.top_k, how.repetition_penalty, options.timeout_ms) == (5, 1.5, 5000)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "messages", "this field is required"),
        ({"messages": "hello"}, "messages", "expected a list"),
        ({"messages": ["hello"]}, "messages[0]", "expected an object"),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "this field is required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
            "messages[0].content[1]",
            "a part of the type 'image_url' is not supported",
        ),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]", 'expected {"type": "text"'),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "expected a string"),
        ({"messages": HELLO, "n": 0}, "n", "must be at least 1"),
        ({"messages": HELLO, "n": 129}, "n", "must be at most 128"),
        ({"messages": HELLO, "tools": [{"type": "retrieval"}]}, "tools[0]", 'expected {"type": "function"'),
        ({"messages": HELLO, "chat_template_kwargs": [1]}, "chat_template_kwargs", "expected an object"),
        ({"messages": HELLO, "temperature": 11}, "temperature", "must be at most 10"),
    ],
)
async def test_what_is_wrong_is_named(
    proxy: Proxy, server: ThriftServer, body: dict[str, Any], param: str, message: str
) -> None:
    answer = await proxy.ask("POST", PATH, json=body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param
    assert message in answer.json["error"]["message"]
    assert not server.named("chat")


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("messages[1].tool_calls[0].arguments", "messages[1].tool_calls[0].arguments"),
        ("messages", "messages"),
        ("chat_options.tools[1]", "tools[1]"),
        ("chat_options.template_arguments", "chat_template_kwargs"),
        ("options.model", "model"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_fields_of_the_contract_are_those_of_the_request(
    client: AsyncOpenAI, server: ThriftServer, field: str, param: str, stream: bool
) -> None:
    def refuse(*_arguments: Any) -> Any:
        raise PredictionError(ErrorCode.INVALID_ARGUMENT, f"{field}: is wrong", field=field)

    server.chat = server.chat_begin = refuse  # type: ignore[method-assign]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="chat", messages=HELLO, stream=stream)
    assert refused.value.param == param
    assert refused.value.body["message"] == f"{param}: is wrong"  # type: ignore[index]


async def test_an_error_within_a_stream(client: AsyncOpenAI, server: ThriftServer) -> None:
    def fail() -> GenerationChunk:
        raise PredictionError(ErrorCode.INTERNAL, "the model failed")

    server.chunks = [GenerationChunk("one", 1), fail]
    with pytest.raises(openai.APIError, match="the model failed"):
        await collected(await client.chat.completions.create(model="chat", messages=HELLO, stream=True))


# ------------------------------------------------------------------------------------ forms, log-probabilities, options


async def test_log_probabilities(client: AsyncOpenAI, server: ThriftServer) -> None:
    tops = [TopLogprob(7, " ü", " ü".encode(), -0.5), TopLogprob(8, "\ufffd", b"\xf0", -1.5)]
    scores = [TokenLogprob(7, " ü", " ü".encode(), -0.5, tops)]
    server.completion = ChatCompletion(" ü", [], 1, FinishReason.LENGTH, 3, scores)
    answer = await client.chat.completions.create(model="chat", messages=HELLO, logprobs=True, top_logprobs=2)
    assert arguments(server)[1].logprobs == 2
    [token] = answer.choices[0].logprobs.content  # type: ignore[union-attr]
    assert (token.token, token.logprob, token.bytes) == (" ü", -0.5, [0x20, 0xC3, 0xBC])
    assert [(top.token, top.logprob, top.bytes) for top in token.top_logprobs] == [
        (" ü", -0.5, [0x20, 0xC3, 0xBC]),
        ("bytes:\\xf0", -1.5, [0xF0]),
    ]
    server.chunks = [
        GenerationChunk(" ü", 1, logprobs=scores),
        GenerationChunk("", 2, FinishReason.LENGTH, 3, logprobs=scores),
    ]
    stream = await client.chat.completions.create(model="chat", messages=HELLO, logprobs=True, stream=True)
    told = [part.choices[0].logprobs for part in await collected(stream)]
    assert [len(one.content) for one in told if one is not None] == [1, 1]
    assert arguments(server, "chat_begin")[1].logprobs == 0


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}, SCHEMA),
    ],
)
async def test_the_form_of_an_answer(client: AsyncOpenAI, server: ThriftServer, form: Any, schema: Any) -> None:
    await client.chat.completions.create(model="chat", messages=HELLO, response_format=form)
    given = arguments(server)[1].json_schema
    assert (None if given is None else json.loads(given)) == schema


OTHER: Any = {"type": "function", "function": {"name": "g", "parameters": SCHEMA}}


async def test_a_tool_that_must_be_called(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.completion = ChatCompletion('{"a": 1}', [], 4, FinishReason.STOP, 3)
    choice: Any = {"type": "function", "function": {"name": "g"}}
    answer = await client.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL, OTHER], tool_choice=choice)
    _, how, _, chat_options = arguments(server)
    assert json.loads(how.json_schema) == SCHEMA
    assert chat_options.parse_tool_calls is False
    assert len(chat_options.tools) == 2
    [call] = answer.choices[0].message.tool_calls  # type: ignore[union-attr]
    assert (call.function.name, call.function.arguments) == ("g", '{"a": 1}')  # type: ignore[union-attr]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (None, "tool_calls")


async def test_some_tool_must_be_called(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.chunks = [
        GenerationChunk('{"name": "g", "argu', 1),
        GenerationChunk('ments": {"a": 1}}', 4, FinishReason.STOP, 3),
    ]
    stream = await client.chat.completions.create(
        model="chat", messages=HELLO, tools=[TOOL, OTHER], tool_choice="required", stream=True
    )
    deltas = [part.choices[0].delta for part in await collected(stream)]
    [call] = [call for delta in deltas for call in delta.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("g", '{"a": 1}')
    assert not any(delta.content for delta in deltas)
    one, other = json.loads(arguments(server, "chat_begin")[1].json_schema)["anyOf"]
    assert one["properties"]["name"] == {"const": "f"}
    assert other["properties"]["arguments"] == SCHEMA


async def test_options_that_are_passed_on(client: AsyncOpenAI, server: ThriftServer) -> None:
    await client.chat.completions.create(
        model="chat",
        messages=HELLO,
        logit_bias={"5": -100},
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        max_tokens=7,
        extra_body={"min_p": 0.1, "min_tokens": 2, "stop_token_ids": [3], "ignore_eos": True, "prompt_token_ids": [1]},
    )
    how = arguments(server)[1]
    assert how.logit_bias == {5: -100}
    assert (how.presence_penalty, how.frequency_penalty, how.min_p, how.min_tokens) == (0.5, -0.5, 0.1, 2)
    assert (how.stop_token_ids, how.ignore_eos, how.max_tokens) == ([3], True, 7)
    assert (how.clamp_max_tokens, how.prompt_token_ids, how.logprobs) == (True, None, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "h"}}}, "tool_choice"),
    ],
)
async def test_options_that_are_wrong(proxy: Proxy, fields: dict[str, Any], param: str) -> None:
    answer = await proxy.ask("POST", PATH, json={"messages": HELLO, **fields})
    assert (answer.status, answer.json["error"]["param"]) == (400, param)
