"""Calls of tools in what models write: whole, in any parts, cut short, and what only looks like one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from server.models.chat import tool_calls
from tests.support.folders import chats

if TYPE_CHECKING:
    from collections.abc import Sequence

WEATHER = ("get_weather", {"place": "Köln", "days": [1, 2]})
TIME = ("get_time", {})


def hermes(*calls: tuple[str, dict[str, object]]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
        for name, arguments in calls
    )


CASES = [
    # form, what the model writes, text, calls
    ("hermes", hermes(WEATHER), "", [WEATHER]),
    ("hermes", "I look.\n" + hermes(WEATHER, TIME), "I look.\n", [WEATHER, TIME]),
    ("hermes", "no call at all", "no call at all", []),
    ("hermes", "1 < 2 <tool", "1 < 2 <tool", []),
    ("hermes", "<tool_call>{nonsense}</tool_call> after", "<tool_call>{nonsense}</tool_call> after", []),
    ("hermes", "<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
    ("hermes", '<tool_call>{"name": 1}</tool_call>', '<tool_call>{"name": 1}</tool_call>', []),
    ("hermes", '<tool_call>{"name": "get_time"', '<tool_call>{"name": "get_time"', []),
    ("hermes", '<tool_call>\n{"name": "get_time", "arguments": {}}', "", [TIME]),
    ("hermes", '<tool_call>{"name": "get_time", "arguments": "{}"}</tool_call>', "", [TIME]),
    ("llama3", '{"name": "get_weather", "parameters": {"place": "Köln", "days": [1, 2]}}', "", [WEATHER]),
    ("llama3", '<|python_tag|>{"name": "get_time", "parameters": {}}', "", [TIME]),
    ("llama3", '{"name": "get_time", "parameters": {}}; {"name": "get_time", "arguments": {}}', "", [TIME, TIME]),
    ("llama3", '{"temperature": 3}', '{"temperature": 3}', []),
    ("llama3", " {curly", " {curly", []),
    ("llama3", "It rains. {1}", "It rains. {1}", []),
    ("mistral", '[TOOL_CALLS] [{"name": "get_time", "arguments": {}, "id": "123456789"}]', "", [TIME]),
    ("mistral", '[{"name": "get_weather", "arguments": {"place": "Köln", "days": [1, 2]}}]', "", [WEATHER]),
    ("mistral", "[1] a footnote", "[1] a footnote", []),
    ("mistral", "[{broken", "[{broken", []),
]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("form", "written", "text", "calls"), CASES)
def test_calls_are_found_in_parts_of_any_size(
    form: str, written: str, text: str, calls: Sequence[tuple[str, dict[str, object]]], size: int
) -> None:
    parser = tool_calls.parser_of(form)
    parts = [written[begin : begin + size] for begin in range(0, len(written), size)]
    answers = [*map(parser.feed, parts), parser.end()]
    assert "".join(shown for shown, _ in answers) == text
    found = [call for _, some in answers for call in some]
    assert [(call.name, json.loads(call.arguments)) for call in found] == list(calls)
    assert len({call.id for call in found}) == len(found)
    assert all(len(call.id) == 9 and call.id.isalnum() for call in found)


def test_text_that_is_no_call_comes_at_once() -> None:
    for form in ("hermes", "llama3", "mistral"):
        parser = tool_calls.parser_of(form)
        assert [parser.feed(part)[0] for part in ("It ", "rains", " <b>")] == ["It ", "rains", " <b>"], form


def test_a_call_comes_when_it_is_whole() -> None:
    parser = tool_calls.parser_of("hermes")
    assert parser.feed("<tool_call>" + '{"name": "get_time", "arguments": {}}') == ("", [])
    text, (call,) = parser.feed("</tool_call>\n")
    assert (text, call.name) == ("", "get_time")


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (chats.QWEN3, "hermes"),
        (chats.LLAMA3, "llama3"),
        (chats.MISTRAL, "mistral"),
        (chats.GEMMA3, None),
        (chats.SMOLLM, None),
        ("<tool_call>\n<function=name>\n<parameter=a>", None),
        ("<tool_call>name\n<arg_key>", None),
        ("[TOOL_CALLS]name[ARGS]{}", None),
    ],
)
def test_the_template_says_which_form_its_model_knows(source: str, form: str | None) -> None:
    assert tool_calls.form_of(source) == form
