"""Calls of tools, in the forms in which models write them; a template's own text says which form its model knows.

A parser is fed with a text as it grows. It holds back what may be a call until it knows, and what begins as a call and
is none becomes text again, so that nothing is lost.
"""

from __future__ import annotations

import json
import secrets
import string
from typing import TYPE_CHECKING, Any, Protocol

from predictor.ttypes import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PYTHON_TAG, _TOOL_CALLS = "<|python_tag|>", "[TOOL_CALLS]"
_ID_CHARACTERS = string.ascii_letters + string.digits

Parsed = tuple[str, list[ToolCall]]
"""Text that is no call, and calls, since the last time."""


class Parser(Protocol):
    """Of one answer."""

    def feed(self, text: str) -> Parsed:
        """The next part of the answer."""

    def end(self) -> Parsed:
        """There is no more of it: what was held back."""


def form_of(source: str) -> str | None:
    """hermes, llama3 or mistral; None where the template's form of calls is not known."""
    if _TOOL_CALLS in source:
        return None if "[ARGS]" in source else "mistral"
    if _OPEN in source and "<function=" not in source and "<arg_key>" not in source:
        return "hermes"
    if _PYTHON_TAG in source or '"parameters": dictionary' in source:
        return "llama3"
    return None


def parser_of(form: str) -> Parser:
    """For an answer in one of the forms that form_of names."""
    if form == "hermes":
        return Marked()
    return Whole(_llama3, "{", _PYTHON_TAG) if form == "llama3" else Whole(_mistral, "[{", _TOOL_CALLS)


class Marked:
    """Hermes, Qwen and their kin: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, among other text."""

    def __init__(self) -> None:
        self._held = ""
        self._in_call = False
        self._called = False

    def feed(self, text: str) -> Parsed:
        """See Parser."""
        self._held += text
        shown, calls = "", []
        while True:
            if self._in_call:
                content, close, rest = self._held.partition(_CLOSE)
                if not close:
                    break
                self._held, self._in_call = rest, False
                found = _calls(content, _hermes)
                if found is None:
                    shown += _OPEN + content + _CLOSE
                else:
                    calls += found
                    self._called = True
                continue
            before, opened, rest = self._held.partition(_OPEN)
            if not opened:
                keep = self._kept(self._held)
                shown, self._held = shown + self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
                break
            shown += "" if self._called and not before.strip() else before
            self._held, self._in_call = rest, True
        return shown, calls

    def end(self) -> Parsed:
        """See Parser. A call that was cut short is text."""
        held, self._held = self._held, ""
        if self._in_call:
            found = _calls(held, _hermes)
            return ("", found) if found is not None else (_OPEN + held, [])
        return ("" if self._called and not held.strip() else held), []

    def _kept(self, text: str) -> int:
        """How many characters at the end may belong to a mark, or be white space between calls."""
        begun = (size for size in range(min(len(_OPEN) - 1, len(text)), 0, -1) if text.endswith(_OPEN[:size]))
        keep = next(begun, 0)
        return len(text) if self._called and not text[: len(text) - keep].strip() else keep


class Whole:
    """An answer that is calls from its beginning, or none: Llama 3's and Mistral's JSON, behind a mark or without."""

    def __init__(self, read: Callable[[str], list[tuple[str, Any]]], begins: str, mark: str) -> None:
        self._read = read
        self._begins, self._mark = begins, mark
        self._held = ""
        self._is_text = False

    def feed(self, text: str) -> Parsed:
        """See Parser."""
        if self._is_text:
            return text, []
        self._held += text
        begun = self._held.lstrip()
        if any(begun.startswith(start) or start.startswith(begun) for start in (self._begins, self._mark)):
            return "", []
        self._is_text, held, self._held = True, self._held, ""
        return held, []

    def end(self) -> Parsed:
        """See Parser."""
        held, self._held = self._held, ""
        if self._is_text:
            return "", []
        found = _calls(held.strip().removeprefix(self._mark), self._read)
        return ("", found) if found else (held, [])


# ----------------------------------------------------------------------------------------------------------- the forms


def _hermes(text: str) -> list[tuple[str, Any]]:
    call = json.loads(text)
    return [(call["name"], call.get("arguments", {}))]


def _llama3(text: str) -> list[tuple[str, Any]]:
    """One object after the other, with ; or white space between them."""
    return [(call["name"], call.get("parameters", call.get("arguments", {}))) for call in _objects(text)]


def _mistral(text: str) -> list[tuple[str, Any]]:
    calls = json.loads(text)
    if not isinstance(calls, list):
        raise TypeError
    return [(call["name"], call.get("arguments", {})) for call in calls]


def _objects(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value
        while place < len(text) and text[place] in "; \n\t\r":
            place += 1


def _calls(text: str, read: Callable[[str], list[tuple[str, Any]]]) -> list[ToolCall] | None:
    """None where it is no call in that form."""
    try:
        found = read(text.strip())
        return [ToolCall(_new_id(), _name(name), _arguments(arguments)) for name, arguments in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError
    return name


def _arguments(arguments: Any) -> str:
    """As JSON; some models write JSON in a string."""
    value = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(value, dict):
        raise TypeError
    return json.dumps(value, ensure_ascii=False)


def _new_id() -> str:
    """Nine letters and digits: Mistral's templates refuse others, and no other template cares."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))
