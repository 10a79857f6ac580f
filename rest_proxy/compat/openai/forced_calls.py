"""Answers that must be a call of a tool: the model writes JSON by a schema, which becomes the call."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ToolCall

from rest_proxy.http.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANY = {"type": "object"}


class ForcedCall:
    """One of the tools must be called: the one that `choice` names, or any."""

    def __init__(self, tools: Sequence[dict[str, Any]], choice: str | dict[str, Any]) -> None:
        """Raises HttpError where there is no such tool."""
        functions = [tool["function"] for tool in tools]
        if isinstance(choice, dict):
            name = _name_of(choice)
            functions = [function for function in functions if function.get("name") == name]
            if not functions:
                raise invalid_argument(f"there is no tool of the name {str(name)[:64]!r}", field="tool_choice")
        if not functions:
            raise invalid_argument("there are no tools to choose from", field="tool_choice")
        self._functions = functions

    @property
    def schema(self) -> str:
        """What the answer keeps to."""
        if len(self._functions) == 1:
            return json.dumps(self._functions[0].get("parameters") or _ANY)
        return json.dumps({"anyOf": [_named(function) for function in self._functions]})

    def call(self, text: str) -> ToolCall | None:
        """What the answer calls; None where it was cut short and names no tool."""
        identifier = secrets.token_hex(8)
        if len(self._functions) == 1:
            return ToolCall(identifier, str(self._functions[0].get("name")), text)
        try:
            found = json.loads(text)
            return ToolCall(identifier, found["name"], json.dumps(found["arguments"], ensure_ascii=False))
        except (ValueError, KeyError, TypeError):
            return None


def _named(function: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": function.get("name")}, "arguments": function.get("parameters") or _ANY}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _name_of(choice: dict[str, Any]) -> Any:
    """Of {"function": {"name": ...}}, or of the Responses API's {"name": ...}."""
    function = choice.get("function", choice)
    return function.get("name") if isinstance(function, dict) else None
