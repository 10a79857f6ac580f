"""What a chat template is told, and what is done with what it says: as transformers' apply_chat_template does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from server.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from predictor.ttypes import ChatMessage

    from server.models.chat.conversation import Conversation

# Put behind the message that is to be continued: what a template writes from there on is cut away.
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "

_DEVELOPER, _SYSTEM = "developer", "system"


def variables_of(conversation: Conversation, source: str, special_tokens: Mapping[str, str]) -> dict[str, Any]:
    """By their names in the template; `source`: the template itself."""
    messages = [_message(message, _DEVELOPER in source) for message in conversation.messages]
    if conversation.continue_final_message:
        messages[-1]["content"] += _MARK
    return {
        **special_tokens,
        "documents": None,
        **conversation.template_arguments,
        "messages": messages,
        "tools": list(conversation.tools) or None,
        "add_generation_prompt": conversation.add_generation_prompt,
    }


def finished(text: str, conversation: Conversation) -> str:
    """What a template made, up to where the last message is to be continued. Raises INVALID_ARGUMENT."""
    if not conversation.continue_final_message:
        return text
    final = conversation.messages[-1].content or ""
    if final.strip() not in text or _MARK.strip() not in text:
        raise invalid_argument(
            "the model's chat template leaves out the last message, or a part of it: it cannot be continued",
            field="chat_options.continue_final_message",
        )
    end = text.rindex(_MARK.strip())
    return text[:end] if text[end : end + len(_MARK)] == _MARK else text[:end].rstrip()


def _message(message: ChatMessage, knows_developer: bool) -> dict[str, Any]:
    role = _SYSTEM if message.role == _DEVELOPER and not knows_developer else message.role
    told: dict[str, Any] = {"role": role}
    if message.reasoning_content is not None:
        told |= {"thinking": message.reasoning_content, "reasoning_content": message.reasoning_content}
    for name in ("content", "name", "tool_call_id"):
        if (value := getattr(message, name)) is not None:
            told[name] = value
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return told
