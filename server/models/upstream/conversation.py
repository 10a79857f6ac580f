"""A conversation, as OpenAI's API has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.models.chat.conversation import FIELD
from server.models.upstream.sampling import refusal

if TYPE_CHECKING:
    from predictor.ttypes import ChatMessage

    from server.models.chat.conversation import Conversation
    from server.upstream.servers import ServerKind


def body_of(conversation: Conversation, server: ServerKind) -> dict[str, Any]:
    """Fields of the body. Raises INVALID_ARGUMENT for an option that this kind of server does not have."""
    body: dict[str, Any] = {
        "messages": [
            _message(message, f"messages[{place}]", server) for place, message in enumerate(conversation.messages)
        ]
    }
    if conversation.tools:
        if not conversation.parse_tool_calls:
            raise refusal("parse_tool_calls", server, FIELD)
        body |= {"tools": list(conversation.tools), "tool_choice": "auto"}
    if conversation.template_arguments:
        body[_named("template_arguments", server)] = conversation.template_arguments
    if conversation.continue_final_message:
        body |= {_named("continue_final_message", server): True, "add_generation_prompt": False}
    elif not conversation.add_generation_prompt:
        body[_named("add_generation_prompt", server)] = False
    return body


def _named(option: str, server: ServerKind) -> str:
    name = server.chat_fields.get(option)
    if name is None:
        raise refusal(option, server, FIELD)
    return name


def _message(message: ChatMessage, field: str, server: ServerKind) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.reasoning_content is not None:
        if "reasoning_content" not in server.chat_fields:
            raise refusal("reasoning_content", server, field)
        found["reasoning_content"] = message.reasoning_content
    return found
