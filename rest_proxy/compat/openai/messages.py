"""Messages and tools as OpenAI's clients send them, as the contract has them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from predictor.ttypes import ChatMessage, ChatOptions, ToolCall
from pydantic import AfterValidator, AliasChoices, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from rest_proxy.http.content import STRING, Schema, array_of, object_of
from rest_proxy.http.requests import Also, FailFast
from rest_proxy.http.validation import json_type

_TEXTS = ("text", "input_text", "output_text")
_PART = {
    "anyOf": [
        STRING,
        object_of(type={"enum": list(_TEXTS)}, text=STRING),
        object_of(type={"const": "refusal"}, refusal=STRING),
    ]
}


def _text(value: Any) -> Any:
    """The text of a content, whose parts are joined by line breaks, as other servers do."""
    if not isinstance(value, list):
        return value
    return "\n".join(_text_of_part(part, index) for index, part in enumerate(value))


def _text_of_part(part: Any, index: int) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return str(part["refusal"])
    if isinstance(kind, str) and kind not in _TEXTS:
        message = f"a part of the type {kind[:64]!r} is not supported: the models here read text"
    else:
        message = f'expected {{"type": "text", "text": ...}}, got {json_type(part)}'
    raise PydanticCustomError("item", "{message}", {"index": index, "message": message})


def _arguments(value: Any) -> Any:
    return _json(value) if isinstance(value, dict) else value


def _objects(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for index, value in enumerate(values):
        if value.get("type", "function") != "function" or not isinstance(value.get("function"), dict):
            message = 'expected {"type": "function", "function": {"name": ..., "parameters": ...}}'
            raise PydanticCustomError("item", "{message}", {"index": index, "message": message})
    return values


Tools = Annotated[list[dict[str, Any]], AfterValidator(_objects)]

CONTENT: Schema = {"anyOf": [STRING, array_of(_PART), {"type": "null"}]}
"""What a message's content may be, in the document."""

Content = Annotated[
    str | None,
    BeforeValidator(_text),
    WithJsonSchema(CONTENT),
]


class _Lenient(FailFast):
    """Fields that are not known are not read: clients have ever more of them."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FunctionCall(_Lenient):
    """What a tool is called with."""

    name: str
    arguments: Annotated[str, BeforeValidator(_arguments), Also({"type": "object"})] = Field(
        "{}", description="A JSON object, as a string."
    )


class MessageToolCall(_Lenient):
    """A call of a tool that an assistant asked for."""

    id: str = ""
    function: FunctionCall


class Message(_Lenient):
    """A message of a conversation."""

    role: str = Field(description="system, developer, user, assistant or tool.")
    content: Content = Field(None, description="A text, or its parts.")
    name: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = Field(
        None, validation_alias=AliasChoices("reasoning_content", "reasoning"), description="What it thought before."
    )

    def contract(self) -> ChatMessage:
        """The contract's message."""
        calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in self.tool_calls or ()]
        return ChatMessage(self.role, self.content, self.name, calls or None, self.tool_call_id, self.reasoning_content)


def form_of(value: Any) -> Any:
    """response_format as the JSON schema that the answer is to keep to; None: any text."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise PydanticCustomError("form", "expected an object, got {got}", {"got": json_type(value)})
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return '{"type":"object"}'
    named = value.get("json_schema")
    if kind == "json_schema" and isinstance(named, dict) and isinstance(named.get("schema"), dict | bool):
        return _json(named["schema"])
    if kind == "json_schema" and isinstance(value.get("schema"), dict | bool):  # as the Responses API has it
        return _json(value["schema"])
    message = 'expected {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {...}}'
    raise PydanticCustomError("form", "{message}", {"message": message})


ResponseFormat = Annotated[str | None, BeforeValidator(form_of), WithJsonSchema({"type": ["object", "null"]})]


def plain_call(call: ToolCall) -> dict[str, Any]:
    """A call of a tool as OpenAI answers it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def chat_options(
    tools: list[dict[str, Any]] | None,
    template_arguments: dict[str, Any] | None,
    add_generation_prompt: bool | None,
    continue_final_message: bool | None,
    parse_tool_calls: bool | None = None,
) -> ChatOptions:
    """The contract's options."""
    return ChatOptions(
        tools=[_json(tool) for tool in tools] if tools else None,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        template_arguments=_json(template_arguments) if template_arguments else None,
        parse_tool_calls=parse_tool_calls,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
