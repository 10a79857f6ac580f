"""Conversations with folders in the forms of five families: what transformers says is what Thrift's clients get."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import (
    ChatMessage,
    ChatOptions,
    ErrorCode,
    FinishReason,
    GenerationOptions,
    PredictionError,
    RequestOptions,
    ToolCall,
)

from tests.e2e.test_embeddings import blocks
from tests.support.folders import chats, chatted
from tests.support.generators import train_tiny
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.folders.chatted import Library, Messages
    from tests.support.shared import SharedFiles

GREEDY = GenerationOptions(max_tokens=chatted.NEW_TOKENS, temperature=0.0)
KNOW_TOOLS = ("llama3", "qwen3", "mistral")


@pytest.fixture(scope="module")
def folders(shared_files: SharedFiles) -> dict[str, Path]:
    return {model.name: chats.made(shared_files, model.name) for model in chats.MODELS}


@pytest.fixture(scope="module")
def service(folders: dict[str, Path], shared_files: SharedFiles) -> Iterator[Service]:
    generator = shared_files.made("tiny_generator", train_tiny)
    models = [f"--model={name}={path}" for name, path in folders.items()]
    with Service(*models, f"--model=plain={generator}") as running:
        yield running


@pytest.fixture(scope="module")
def library(folders: dict[str, Path]) -> Callable[[str], Library]:
    opened: dict[str, Library] = {}

    def of(name: str) -> Library:
        if name not in opened:
            opened[name] = chatted.Library(folders[name])
        return opened[name]

    return of


def contract(messages: Messages) -> list[ChatMessage]:
    return [
        ChatMessage(
            role=message["role"],
            content=message.get("content"),
            name=message.get("name"),
            tool_calls=[
                ToolCall(call["id"], call["function"]["name"], json.dumps(call["function"]["arguments"]))
                for call in message.get("tool_calls", ())
            ]
            or None,
            tool_call_id=message.get("tool_call_id"),
            reasoning_content=message.get("reasoning_content"),
        )
        for message in messages
    ]


def asked(name: str) -> list[tuple[Messages, Any]]:
    """Conversations, and the tools of each."""
    found: list[tuple[Messages, Any]] = [(messages, None) for messages in chatted.CONVERSATIONS.values()]
    if name in KNOW_TOOLS:
        found += [(messages, chatted.TOOLS) for messages in chatted.WITH_TOOLS.values()]
    return found


def chat_options(tools: Any, **options: Any) -> ChatOptions:
    return ChatOptions(tools=[json.dumps(tool) for tool in tools] if tools else None, **options)


def chat_over_http(service: Service, model: str, messages: Messages, tools: Any = None, **fields: Any) -> Any:
    """As OpenAI's clients send it: arguments of calls are strings."""
    sent = json.loads(json.dumps(messages))
    for message in sent:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    body = {"model": model, "messages": sent, "tools": tools, "temperature": 0} | fields
    headers = {"Content-Type": "application/json"}
    answer = service.http("/v1/chat/completions", method="POST", body=json.dumps(body), headers=headers)
    assert answer.status == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", chats.BY_NAME)
def test_the_text_is_that_of_transformers(service: Service, library: Callable[[str], Library], name: str) -> None:
    options = RequestOptions(model=name)
    answers = set()
    with service.client() as predictor:
        for messages, tools in asked(name):
            right = library(name).answer(messages, tools)
            assert len(right.text) > 4, "float32 decides too little of it"
            prompt = predictor.chat_prompt(contract(messages), options, chat_options(tools))
            assert (prompt.text, prompt.ids) == (right.prompt, right.tokens)
            done = predictor.chat(contract(messages), GREEDY, options, chat_options(tools))
            assert done.content.startswith(right.text)
            assert done.prompt_tokens == len(right.tokens)
            assert done.token_count == chatted.NEW_TOKENS or done.finish_reason == FinishReason.END_OF_TEXT
            stream = predictor.chat_begin(contract(messages), GREEDY, options, chat_options(tools))
            text, last = "", None
            while last is None or last.finish_reason is None:
                last = predictor.generate_next(stream, 10_000)
                text += last.text
            assert text == done.content
            assert (last.token_count, last.prompt_tokens) == (done.token_count, done.prompt_tokens)
            answers.add(text)
            over_http = chat_over_http(service, name, messages, tools, max_tokens=chatted.NEW_TOKENS)
            assert over_http["choices"][0]["message"]["content"] == text
            assert over_http["usage"]["prompt_tokens"] == len(right.tokens)
    assert len(answers) == len(asked(name)), "all the same"


def test_options_of_the_template(service: Service, library: Callable[[str], Library]) -> None:
    messages: Messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "well, "}]
    options = RequestOptions(model="qwen3")
    with service.client() as predictor:
        for how in (
            {"enable_thinking": False},
            {"add_generation_prompt": False},
            {"continue_final_message": True},
        ):
            text, tokens = library("qwen3").prompt(messages, **how)
            arguments = json.dumps(how) if "enable_thinking" in how else None
            given = {} if arguments else how
            prompt = predictor.chat_prompt(
                contract(messages), options, ChatOptions(template_arguments=arguments, **given)
            )
            assert (prompt.text, prompt.ids) == (text, tokens)
        thought = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "hm"}]
        assert predictor.chat_prompt(contract(thought), options, None).text == library("qwen3").prompt(thought)[0]


def test_a_developer_is_the_system_where_the_template_does_not_know_him(service: Service) -> None:
    options = RequestOptions(model="qwen3")
    user = ChatMessage("user", "hello")
    with service.client() as predictor:
        prompts = [
            predictor.chat_prompt([ChatMessage(role, "be brief"), user], options, None).text
            for role in ("developer", "system")
        ]
    assert prompts[0] == prompts[1]


def test_tokens_of_vllms_form(service: Service, library: Callable[[str], Library]) -> None:
    def ask(path: str, **body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        answer = service.http(path, method="POST", body=json.dumps({"model": "llama3", **body}), headers=headers)
        return answer.json()

    tokenizer = library("llama3").tokenizer
    for special in (True, False):
        answer = ask("/tokenize", prompt="the harbour", add_special_tokens=special, return_token_strs=True)
        ids = tokenizer("the harbour", add_special_tokens=special).input_ids
        assert (answer["tokens"], answer["count"]) == (ids, len(ids))
        assert answer["token_strs"] == tokenizer.convert_ids_to_tokens(ids)
        assert answer["max_model_len"] == chats.POSITIONS
        assert ask("/detokenize", tokens=ids) == {"prompt": tokenizer.decode(ids)}
    messages = chatted.CONVERSATIONS["several turns"]
    text, tokens = library("llama3").prompt(messages)
    assert ask("/tokenize", messages=messages)["tokens"] == tokens
    assert ask("/detokenize", tokens=tokens) == {"prompt": text}
    refused = ask("/detokenize", tokens=[1, 10**6])["error"]
    assert refused["message"] == "tokens: no token has the id 1000000 (the 2. of 2)"


def test_an_answer_may_take_the_room_that_there_is(service: Service) -> None:
    options = RequestOptions(model="smollm", timeout_ms=60_000)
    with service.client() as predictor:
        done = predictor.chat([ChatMessage("user", "hello " * 100)], GenerationOptions(temperature=0.0), options, None)
        if done.finish_reason == FinishReason.LENGTH:
            assert done.prompt_tokens + done.token_count == chats.POSITIONS
        else:
            assert done.token_count > chatted.NEW_TOKENS


@pytest.mark.parametrize(
    ("messages", "options", "model", "code", "message"),
    [
        ([("user", "a")], {}, "plain", ErrorCode.INVALID_ARGUMENT, "'plain' has no chat template"),
        ([("user", "a"), ("user", "b")], {}, "gemma3", ErrorCode.INVALID_ARGUMENT, "refuses it: Conversation roles"),
        ([("user", None)], {}, "smollm", ErrorCode.INVALID_ARGUMENT, "cannot be applied: UndefinedError"),
        ([("user", "a" * 131_073)], {}, "smollm", ErrorCode.TOO_LARGE, "(setting max_message_bytes)"),
        ([("user", "a b " * 2000)], {}, "smollm", ErrorCode.TOO_LARGE, "over the limit of 1023"),
        ([], {}, "smollm", ErrorCode.INVALID_ARGUMENT, "messages: must have 1 to 2048 items, got 0"),
    ],
)
def test_refusals(
    service: Service, messages: list[tuple[str, str]], options: dict[str, Any], model: str, code: int, message: str
) -> None:
    given = [ChatMessage(role, content) for role, content in messages]
    chosen = RequestOptions(model=model)
    with service.client() as predictor:
        for call in (
            lambda: predictor.chat(given, GREEDY, chosen, ChatOptions(**options)),
            lambda: predictor.chat_begin(given, GREEDY, chosen, ChatOptions(**options)),
            lambda: predictor.chat_prompt(given, chosen, ChatOptions(**options)),
        ):
            with pytest.raises(PredictionError) as caught:
                call()
            assert caught.value.code == code
            assert message in caught.value.message
        assert predictor.chat([ChatMessage("user", "a")], GREEDY, RequestOptions(model="smollm"), None).content


def test_the_lines_of_the_document_run(folders: dict[str, Path]) -> None:
    with Service(f"--model=chat={folders['smollm']}") as running:
        for command in re.findall(r"^\$ (.*)", blocks("docs/chat.md", "console", "run")[0], re.MULTILINE):
            line = command.replace("8080", str(running.rest_port))
            answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
            assert '"finish_reason":"' in answer


def test_the_program_of_the_document_runs(service: Service) -> None:
    (program,) = blocks("docs/chat.md", "python", "run")
    program = program.replace("9090", str(service.port))
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert len(shown) > 10


def test_a_model_without_a_template_says_so_over_http(service: Service) -> None:
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "hello"}]})
    headers = {"Content-Type": "application/json"}
    answer = service.http("/v1/chat/completions", method="POST", body=body, headers=headers)
    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("model: 'plain' has no chat template")
    assert answer.json()["error"]["param"] == "model"
