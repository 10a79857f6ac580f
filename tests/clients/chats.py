"""Clients of conversations, unchanged: openai, langchain-openai, litellm and llm.

Run by `make test-libraries`, as libraries.py is. What they give is compared with transformers' own answers, and with a
model that was trained to call a tool.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema
import pytest

from tests.clients.libraries import DOCS, FOLDER, PYTHON, environment
from tests.support.folders import chats, chatted, heads
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.folders.chatted import Messages
    from tests.support.shared import SharedFiles

PROGRAMS = ("openai", "langchain", "litellm", "llm")
MESSAGES = chatted.CONVERSATIONS["a system message"]
SCHEMA = {
    "title": "weather",
    "description": "The weather of a place",
    "type": "object",
    "properties": {"place": {"type": "string", "maxLength": 8}, "rain": {"type": "boolean"}},
    "required": ["place", "rain"],
    "additionalProperties": False,
}
_TIMEOUT_S = 300


class Served(NamedTuple):
    """A running service, and what its model for conversations says."""

    service: Service
    text: str
    prompt_tokens: int


@pytest.fixture(scope="module")
def served(shared_files: SharedFiles) -> Iterator[Served]:
    models = {
        "chat": chats.made(shared_files, "smollm"),
        "caller": shared_files.made("chats/caller", chats.write_caller),
        "encoder": shared_files.made("libraries/bert", lambda path: heads.sentence_encoder(path, "bert", "mean")),
    }
    right = chatted.Library(models["chat"]).answer(MESSAGES)
    assert len(right.text) > 4
    with Service(*(f"--model={name}={path}" for name, path in models.items())) as running:
        yield Served(running, right.text, len(right.tokens))


def ask(program: str, port: int, messages: Messages) -> dict[str, Any]:
    """What a program of the folder answers; it must exit with 0."""
    question = {
        "url": f"http://127.0.0.1:{port}",
        "messages": messages,
        "tools": chatted.TOOLS,
        "tokens": chatted.NEW_TOKENS,
        "schema": SCHEMA,
    }
    assert PYTHON.is_file(), f"there is no {PYTHON}: `make test-libraries` makes it, or LIBRARIES_PYTHON names one"
    done = subprocess.run(
        [PYTHON, f"chat_{program}_client.py"],
        cwd=FOLDER,
        input=json.dumps(question),
        env=environment() | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("program", PROGRAMS)
def test_answers_are_those_of_transformers(served: Served, program: str) -> None:
    answers = ask(program, served.service.rest_port, MESSAGES)
    assert answers["chat"].startswith(served.text)
    assert answers["stream"] == answers["chat"]
    for usage in answers.get("usage", ()):
        assert (usage.get("prompt_tokens") or usage["input_tokens"]) == served.prompt_tokens
        assert (usage.get("completion_tokens") or usage["output_tokens"]) <= chatted.NEW_TOKENS
    for name in ("tools", "streamed tools"):
        called, arguments = answers[name]
        assert called == "get_weather"
        assert (json.loads(arguments) if isinstance(arguments, str) else arguments) == {"place": "Köln"}
    require_further(answers)
    require_forms(answers)


def require_further(answers: dict[str, Any]) -> None:
    """What not every program asks for."""
    if "two" in answers:
        one, other = answers["two"]
        assert one
        assert one != other
    for token in answers.get("logprobs", ()):  # greedy: the likeliest is taken
        assert token["logprob"] == token["top_logprobs"][0]["logprob"] > token["top_logprobs"][1]["logprob"]
        assert token["token"].encode() == bytes(token["bytes"])
    if "logprobs" in answers:
        assert "".join(token["token"] for token in answers["logprobs"]) == answers["chat"]
    if "response" in answers:
        assert answers["response"] == answers["chat"]
    if "prompt" in answers:
        assert answers["prompt"]
    if "after tools" in answers:
        assert 0 < answers["after tools"] <= 4
    if "vectors" in answers:
        assert len(answers["vectors"]) == 2
        assert len(answers["vectors"][0]) == len(answers["vectors"][1]) > 8
    if "names" in answers:
        assert answers["names"] == ["chat", "caller", "encoder"]


def require_forms(answers: dict[str, Any]) -> None:
    """What was asked for with a schema: answers, and a call that the model has to make."""
    if "formed" in answers:
        formed = answers["formed"]
        jsonschema.validate(json.loads(formed) if isinstance(formed, str) else formed, SCHEMA)
    for call in answers.get("forced", ()):
        assert call["name"] == "report"
        jsonschema.validate(json.loads(call["arguments"]), SCHEMA)
    if "forced" in answers:
        assert answers["forced"]


def test_the_documentation_runs(served: Served) -> None:
    [program] = re.findall(r"<!-- run: chat -->\n```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    program = program.replace("8080", str(served.service.rest_port))
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run([PYTHON, "-c", program], env=environment() | local, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 30
