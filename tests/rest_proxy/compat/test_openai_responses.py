"""/v1/responses, asked by OpenAI's own client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI
from predictor.ttypes import (
    ChatCompletion,
    ChatMessage,
    ErrorCode,
    FinishReason,
    GenerationChunk,
    PredictionError,
    ToolCall,
)

from tests.rest_proxy.thrift_server import WORDS, ThriftServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rest_proxy.conftest import Proxy

TEXT = "".join(WORDS)
CALL = ToolCall("abc", "f", '{"a": 1}')
TOOL: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, for the proxy."""
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_a_text(client: AsyncOpenAI, server: ThriftServer) -> None:
    response = await client.responses.create(
        model="chat", input="Hello", instructions="be brief", max_output_tokens=9, temperature=0.5
    )
    assert response.output_text == TEXT
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (3, 4, 7)
    assert response.id.startswith("resp_")
    [(messages, how, options, _)] = server.named("chat")
    assert messages == [ChatMessage("system", "be brief"), ChatMessage("user", "Hello")]
    assert (how.max_tokens, how.temperature, options.model) == (9, 0.5, "chat")


async def test_a_conversation_with_tools(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.completion = ChatCompletion("", [CALL, CALL], 4, FinishReason.END_OF_TEXT, 3)
    given: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "reasoning", "id": "r", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "one"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
    ]
    response = await client.responses.create(model="chat", input=given, tools=[TOOL])
    assert [(item.type, item.call_id, item.name, item.arguments) for item in response.output] == [
        ("function_call", "abc", "f", '{"a": 1}')
    ] * 2
    assert response.status == "completed"
    [(messages, _, _, chat_options)] = server.named("chat")
    assert messages == [
        ChatMessage("user", "Hello"),
        ChatMessage("assistant", tool_calls=[ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")]),
        ChatMessage("tool", "one", tool_call_id="1"),
        ChatMessage("assistant", "well"),
    ]
    [tool] = chat_options.tools
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert json.loads(tool) == {"type": "function", "function": function}


async def test_events(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.chunks = [
        GenerationChunk("I look", 1),
        GenerationChunk(" now", 2, tool_calls=[CALL]),
        GenerationChunk("", 4, FinishReason.END_OF_TEXT, 3, tool_calls=[CALL]),
    ]
    stream = await client.responses.create(model="chat", input="Hello", tools=[TOOL], stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *(
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        )
        * 2,
        "completed",
    ]
    done = events[-1].response  # type: ignore[union-attr]
    assert done.output_text == "I look now"
    assert [item.type for item in done.output] == ["message", "function_call", "function_call"]
    assert [event.output_index for event in events if event.type == "response.output_item.done"] == [0, 1, 2]
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    assert added == [item.id for item in done.output]


async def test_the_clients_own_reader_of_streams(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="chat", input="Hello") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert deltas == WORDS


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored here"),
        ({"input": [{"type": "web_search_call"}]}, "input[0]", "'web_search_call' is not supported"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "only tools of the form"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": ""}]}]},
            "input[0].content[0]",
            "'input_image' is not supported",
        ),
    ],
)
async def test_what_is_wrong_is_named(client: AsyncOpenAI, fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        await client.responses.create(**{"model": "chat", "input": "Hello", **fields})
    assert refused.value.param == param


async def test_errors(client: AsyncOpenAI, server: ThriftServer) -> None:
    def refuse(*_arguments: Any) -> Any:
        raise PredictionError(ErrorCode.NOT_FOUND, "no such model")

    server.chat = refuse  # type: ignore[method-assign]
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="none", input="Hello")
