"""The contract's messages and ChatOptions, checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from predictor.ttypes import ChatOptions

from process.options import (
    MESSAGES,
    MOST_TOOL_CALLS,
    NAME_BYTES,
    ROLE_BYTES,
    TEMPLATE_ARGUMENTS,
    TOOLS,
)
from server.errors import invalid_argument, too_large

if TYPE_CHECKING:
    from collections.abc import Sequence

    from predictor.ttypes import ChatMessage

    from process.options import Option

FIELD = "chat_options"

# What the template is told by arguments of the call.
_TAKEN = ("messages", "tools", "add_generation_prompt", "continue_final_message")

_NO_OPTIONS = ChatOptions()


class Conversation(NamedTuple):
    """What a call of chat says, each part within its limits."""

    messages: Sequence[ChatMessage]
    """The contract's, whose tool calls' arguments are JSON objects."""
    tools: tuple[dict[str, Any], ...] = ()
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed
    parse_tool_calls: bool = True


def conversation_of(messages: list[ChatMessage], options: ChatOptions | None, field: str = FIELD) -> Conversation:
    """The call's conversation; `field` is the path of the options. Raises INVALID_ARGUMENT and TOO_LARGE."""
    if wrong := MESSAGES.wrong(len(messages)):
        raise (too_large if messages else invalid_argument)(wrong, field=MESSAGES.name)
    for index, message in enumerate(messages):
        _check_message(message, f"{MESSAGES.name}[{index}]")
    options = options or _NO_OPTIONS
    continues = bool(options.continue_final_message)
    begins = not continues if options.add_generation_prompt is None else options.add_generation_prompt
    if continues and begins:
        raise invalid_argument("not with add_generation_prompt", field=f"{field}.continue_final_message")
    if continues and messages[-1].content is None:
        raise invalid_argument("the last message has no content to continue", field=f"{field}.continue_final_message")
    return Conversation(
        messages,
        _tools(options.tools or [], field),
        begins,
        continues,
        _arguments(options.template_arguments, f"{field}.{TEMPLATE_ARGUMENTS.name}"),
        options.parse_tool_calls is not False,
    )


def size_of(conversation: Conversation) -> int:
    """Bytes of all that is said, about: what a template has to work on."""
    size = 0
    for message in conversation.messages:
        size += _size(message.content) + _size(message.reasoning_content) + _size(message.name)
        for call in message.tool_calls or ():
            size += _size(call.name) + _size(call.arguments)
    return size + sum(len(json.dumps(tool)) for tool in conversation.tools)


def json_object(text: str, field: str) -> dict[str, Any]:
    """The object that a text is. Raises INVALID_ARGUMENT."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"is no JSON: {error}", field=field) from None
    if not isinstance(value, dict):
        raise invalid_argument("expected a JSON object", field=field)
    return value


def _check_message(message: ChatMessage, field: str) -> None:
    if message is None or message.role is None:
        raise invalid_argument("is missing", field=f"{field}.role")
    if not 1 <= _size(message.role) <= ROLE_BYTES:
        raise invalid_argument(f"must have 1 to {ROLE_BYTES} bytes, got {_size(message.role)}", field=f"{field}.role")
    _check_name(message.name, f"{field}.name")
    _check_name(message.tool_call_id, f"{field}.tool_call_id")
    calls = message.tool_calls or ()
    if len(calls) > MOST_TOOL_CALLS:
        raise too_large(f"must have at most {MOST_TOOL_CALLS} items, got {len(calls)}", field=f"{field}.tool_calls")
    for index, call in enumerate(calls):
        place = f"{field}.tool_calls[{index}]"
        for part in ("id", "name", "arguments"):
            if getattr(call, part) is None:
                raise invalid_argument("is missing", field=f"{place}.{part}")
        _check_name(call.id, f"{place}.id")
        _check_name(call.name, f"{place}.name")
        json_object(call.arguments, f"{place}.arguments")


def _check_name(value: str | None, field: str) -> None:
    if _size(value) > NAME_BYTES:
        raise invalid_argument(f"must have at most {NAME_BYTES} bytes, got {_size(value)}", field=field)


def _tools(texts: list[str], field: str) -> tuple[dict[str, Any], ...]:
    _check_length(TOOLS, len(texts), field)
    return tuple(json_object(text, f"{field}.tools[{index}]") for index, text in enumerate(texts))


def _arguments(text: str | None, field: str) -> dict[str, Any]:
    if not text:
        return {}
    if wrong := TEMPLATE_ARGUMENTS.wrong(len(text)):
        raise too_large(wrong, field=field)
    arguments = json_object(text, field)
    for name in _TAKEN:
        if name in arguments:
            raise invalid_argument(f"{name!r} has an argument of its own", field=field)
    return arguments


def _check_length(option: Option, length: int, field: str) -> None:
    if wrong := option.wrong(length):
        raise too_large(wrong, field=f"{field}.{option.name}")


def _size(text: str | None) -> int:
    return 0 if text is None else len(text.encode())
