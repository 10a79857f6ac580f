"""The contract's messages and ChatOptions: limits, and the paths that errors name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from predictor.ttypes import ChatMessage, ChatOptions, ToolCall

from server.errors import ErrorCode, PredictionError
from server.models.chat.conversation import conversation_of

HELLO = ChatMessage("user", "hello")
WRONG, LARGE = ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE


def called(identifier: str = "1", name: str = "f", arguments: str = "{}") -> ChatMessage:
    return ChatMessage("assistant", tool_calls=[ToolCall(identifier, name, arguments)])


@pytest.mark.parametrize(
    ("messages", "options", "code", "field"),
    [
        ([], {}, WRONG, "messages"),
        ([HELLO] * 2049, {}, LARGE, "messages"),
        ([HELLO, ChatMessage("", "a")], {}, WRONG, "messages[1].role"),
        ([ChatMessage("r" * 65, "a")], {}, WRONG, "messages[0].role"),
        ([ChatMessage(None, "a")], {}, WRONG, "messages[0].role"),
        ([ChatMessage("user", "a", "n" * 257)], {}, WRONG, "messages[0].name"),
        ([ChatMessage("tool", "a", tool_call_id="i" * 257)], {}, WRONG, "messages[0].tool_call_id"),
        ([called(arguments="no JSON")], {}, WRONG, "messages[0].tool_calls[0].arguments"),
        ([called(arguments="[1]")], {}, WRONG, "messages[0].tool_calls[0].arguments"),
        ([called(arguments="[" * 100_000)], {}, WRONG, "messages[0].tool_calls[0].arguments"),
        ([called(name="n" * 257)], {}, WRONG, "messages[0].tool_calls[0].name"),
        ([called(identifier="n" * 257)], {}, WRONG, "messages[0].tool_calls[0].id"),
        (
            [ChatMessage("assistant", tool_calls=[ToolCall("1", "f", "{}")] * 129)],
            {},
            LARGE,
            "messages[0].tool_calls",
        ),
        ([HELLO], {"tools": ["{}"] * 129}, LARGE, "chat_options.tools"),
        ([HELLO], {"tools": ["{}", "3"]}, WRONG, "chat_options.tools[1]"),
        ([HELLO], {"template_arguments": "[]"}, WRONG, "chat_options.template_arguments"),
        ([HELLO], {"template_arguments": '{"messages": []}'}, WRONG, "chat_options.template_arguments"),
        ([HELLO], {"template_arguments": " " * 65_537}, LARGE, "chat_options.template_arguments"),
        (
            [HELLO],
            {"continue_final_message": True, "add_generation_prompt": True},
            WRONG,
            "chat_options.continue_final_message",
        ),
        ([called()], {"continue_final_message": True}, WRONG, "chat_options.continue_final_message"),
    ],
)
def test_refusals(messages: list[ChatMessage], options: dict[str, Any], code: int, field: str) -> None:
    with pytest.raises(PredictionError) as caught:
        conversation_of(messages, ChatOptions(**options))
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.message.startswith(f"{field}: ")


def test_defaults() -> None:
    conversation = conversation_of([HELLO], None)
    assert (conversation.add_generation_prompt, conversation.continue_final_message) == (True, False)
    assert conversation.parse_tool_calls
    assert not conversation.tools
    assert not conversation.template_arguments
    continued = conversation_of([HELLO], ChatOptions(continue_final_message=True))
    assert (continued.add_generation_prompt, continued.continue_final_message) == (False, True)


def test_what_is_given_is_kept() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    options = ChatOptions([json.dumps(tool)], False, None, '{"enable_thinking": false}', False)
    conversation = conversation_of([HELLO, called()], options)
    assert conversation.tools == (tool,)
    assert conversation.template_arguments == {"enable_thinking": False}
    assert not conversation.add_generation_prompt
    assert not conversation.parse_tool_calls
