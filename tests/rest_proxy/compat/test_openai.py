"""OpenAI's routes, asked by OpenAI's own client, and what it would not send."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI
from predictor.ttypes import (
    EmbeddingMatrix,
    EmbedOptions,
    ErrorCode,
    FinishReason,
    Generation,
    GenerationChunk,
    GenerationOptions,
    Lane,
    PredictionError,
)

from tests.rest_proxy.thrift_server import WORDS, ThriftServer, vector
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rest_proxy.conftest import Answer, Proxy

TEXT = "".join(WORDS)


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, for the proxy."""
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def close(found: list[float], wanted: list[float]) -> bool:
    return found == pytest.approx(wanted, rel=1e-6)


def refuse(code: int, retry_after_ms: int | None = None) -> Any:
    def answer(*_arguments: Any) -> Any:
        raise PredictionError(code, "refused", retry_after_ms)

    return answer


async def collected(stream: Any) -> list[Any]:
    return [part async for part in stream]


# ----------------------------------------------------------------------------------------------------- embeddings


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
async def test_openai_embeddings_of_a_list(client: AsyncOpenAI, server: ThriftServer, options: Any) -> None:
    answer = await client.embeddings.create(model="minilm", input=["Hello", "world!!"], **options)
    assert (answer.object, answer.model) == ("list", "minilm")
    assert [item.index for item in answer.data] == [0, 1]
    [(texts, asked, wanted)] = server.named("embed_matrix")
    assert (texts, asked.model, wanted) == (["Hello", "world!!"], "minilm", None)
    if options.get("encoding_format") == "base64":
        assert isinstance(answer.data[0].embedding, str), "the client leaves it when it was asked for by name"
    else:
        assert all(close(item.embedding, vector(text)) for item, text in zip(answer.data, texts, strict=True))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4), "of a model that does not tell"


async def test_openai_embeddings_count_the_tokens_that_the_model_tells(
    client: AsyncOpenAI, server: ThriftServer
) -> None:
    server.embed_matrix = lambda *_arguments: EmbeddingMatrix(1, 1, b"\0\0\0\0", tokens=77)
    answer = await client.embeddings.create(model="minilm", input="Hello")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (77, 77)


async def test_openai_embeddings_of_one_text(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="minilm", input="['a', 'b']", dimensions=3, user="me")
    assert len(answer.data) == 1
    assert close(answer.data[0].embedding, vector("['a', 'b']"))


async def test_openai_embeddings_take_our_options_too(client: AsyncOpenAI, server: ThriftServer) -> None:
    more = {"timeout_ms": 1234, "lane": "bulk", "truncate": False}
    await client.embeddings.create(model="minilm", input="a", extra_body=more, extra_headers={"X-Request-Id": "r-1"})
    [(_, options, wanted)] = server.named("embed_matrix")
    assert (options.timeout_ms, options.lane, options.request_id) == (1234, Lane.BULK, "r-1")
    assert wanted == EmbedOptions(False)


async def test_openai_dimensions_that_the_model_does_not_have(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model="minilm", input="a", dimensions=4)
    assert refused.value.param == "dimensions"
    assert refused.value.body["message"] == "dimensions: the model's vectors have 3 dimensions, not 4"


# ---------------------------------------------------------------------------------------------------- completions


async def test_openai_completion(client: AsyncOpenAI, server: ThriftServer) -> None:
    answer = await client.completions.create(model="gpt2", prompt="AI is a")
    assert (answer.object, answer.model) == ("text_completion", "gpt2")
    assert answer.id == f"cmpl-{answer._request_id}"
    [choice] = answer.choices
    assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == (TEXT, 0, "length", None)
    usage = answer.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 4, 7)
    [(prompt, wanted, options)] = server.named("generate")
    assert (prompt, wanted) == ("AI is a", GenerationOptions(max_tokens=16, clamp_max_tokens=True))
    assert (options.model, options.timeout_ms) == ("gpt2", 600_000)


async def test_openai_completion_with_every_option(client: AsyncOpenAI, server: ThriftServer) -> None:
    await client.completions.create(
        model="gpt2",
        prompt=["a"],
        max_tokens=7,
        temperature=0,
        top_p=0.9,
        stop=["\n", "end"],
        seed=17,
        n=1,
        best_of=1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"17": -100},
        logprobs=None,
        suffix=None,
        user="me",
        extra_body={"top_k": 40, "repetition_penalty": 1.5, "timeout_ms": 99},
    )
    [(_, wanted, options)] = server.named("generate")
    own = {"presence_penalty": 0.5, "frequency_penalty": -0.5, "logit_bias": {17: -100.0}, "clamp_max_tokens": True}
    assert wanted == GenerationOptions(7, 0.0, 40, 0.9, 1.5, ["\n", "end"], 17, **own)
    assert options.timeout_ms == 99


async def test_openai_completions_of_several_prompts_with_echo(client: AsyncOpenAI, server: ThriftServer) -> None:
    def generate(prompt: str, _wanted: Any, _options: Any) -> Generation:
        return Generation(prompt, f" after {prompt}", 3, FinishReason.END_OF_TEXT, 5)

    server.generate = generate
    answer = await client.completions.create(model="gpt2", prompt=["one", "two", "three"], echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.text for choice in answer.choices] == ["one after one", "two after two", "three after three"]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (15, 9)


async def test_openai_stream(client: AsyncOpenAI, server: ThriftServer) -> None:
    stream = await client.completions.create(model="gpt2", prompt="AI is a", stream=True, max_tokens=4)
    parts = await collected(stream)
    assert [part.choices[0].text for part in parts] == WORDS
    assert [part.choices[0].finish_reason for part in parts] == [None, None, None, "length"]
    assert len({part.id for part in parts}) == 1
    assert parts[0].usage is None
    assert server.named("generate_begin")[0][1] == GenerationOptions(max_tokens=4, clamp_max_tokens=True)


async def test_openai_stream_as_it_is_on_the_wire(proxy: Proxy) -> None:
    body = json.dumps({"model": "gpt2", "prompt": "a", "stream": True})
    out = await proxy.curl("-N", "-H", "Content-Type: application/json", "-d", body, "URL/v1/completions")
    *parts, done, end = out.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert "".join(json.loads(part.removeprefix("data: "))["choices"][0]["text"] for part in parts) == TEXT


async def test_openai_stream_with_usage_echo_and_heartbeats(client: AsyncOpenAI, server: ThriftServer) -> None:
    server.chunks[:0] = [GenerationChunk("", 0)]
    stream = await client.completions.create(
        model="gpt2", prompt="AI is a", stream=True, echo=True, stream_options={"include_usage": True}
    )
    *parts, last = await collected(stream)
    assert "".join(part.choices[0].text for part in parts) == f"AI is a{TEXT}"
    assert all(part.usage is None for part in parts)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 4)


async def test_openai_stream_of_several_prompts(client: AsyncOpenAI, server: ThriftServer) -> None:
    stream = await client.completions.create(model="gpt2", prompt=["a", "b"], stream=True)
    texts = ["", ""]
    async for part in stream:
        texts[part.choices[0].index] += part.choices[0].text
    assert texts == [TEXT, TEXT]
    assert [prompt for prompt, _, _ in server.named("generate_begin")] == ["a", "b"]


async def test_openai_first_part_comes_before_the_last_and_a_client_that_leaves_cancels(
    client: AsyncOpenAI, server: ThriftServer
) -> None:
    server.chunks[1:1] = [server.wait_for_release]
    stream = await client.completions.create(model="gpt2", prompt="a", stream=True)
    first = await anext(aiter(stream))
    assert first.choices[0].text == WORDS[0]
    assert await asyncio.to_thread(server.held.acquire, timeout=60)
    await stream.close()
    await asyncio.to_thread(eventually, lambda: server.named("generate_cancel") == [("stream-1",)])


@pytest.mark.parametrize("prompts", [["a"], ["a", "b"]])
async def test_openai_error_in_the_middle_of_a_stream(
    client: AsyncOpenAI, server: ThriftServer, prompts: list[str]
) -> None:
    server.chunks[1:] = [refuse(ErrorCode.DEADLINE_EXCEEDED)] * 2
    stream = await client.completions.create(model="gpt2", prompt=prompts, stream=True)
    with pytest.raises(openai.APIError, match="refused") as failed:
        await collected(stream)
    assert (failed.value.type, failed.value.code) == ("server_error", "deadline_exceeded")
    await asyncio.to_thread(eventually, lambda: len(server.named("generate_cancel")) == len(prompts))


async def test_openai_second_prompt_that_cannot_begin_cancels_the_first(
    client: AsyncOpenAI, server: ThriftServer
) -> None:
    begin = server.generate_begin
    server.generate_begin = lambda prompt, *more: begin(prompt, *more) if prompt == "a" else refuse(4)()
    with pytest.raises(openai.RateLimitError):
        await client.completions.create(model="gpt2", prompt=["a", "b"], stream=True)
    assert server.named("generate_cancel") == [("stream-1",)]


# --------------------------------------------------------------------------------------------------------- models


async def test_openai_models(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == ["docnn", "minilm", "gpt2", "classifier", "reranker"]
    assert {(model.object, model.created) for model in models} == {("model", 1764280000)}
    for name in ("gpt2", "reranker"):
        assert (await client.models.retrieve(name)).id == name
    for name in ("no such", "ä", "a/b"):
        with pytest.raises(openai.NotFoundError) as missing:
            await client.models.retrieve(name)
        assert missing.value.code == "model_not_found"


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "error", "kind", "name"),
    [
        (ErrorCode.INVALID_ARGUMENT, openai.BadRequestError, "invalid_request_error", "invalid_argument"),
        (ErrorCode.NOT_FOUND, openai.NotFoundError, "invalid_request_error", "model_not_found"),
        (ErrorCode.TOO_LARGE, openai.APIStatusError, "invalid_request_error", "too_large"),
        (ErrorCode.OVERLOADED, openai.RateLimitError, "rate_limit_error", "overloaded"),
        (ErrorCode.DEADLINE_EXCEEDED, openai.InternalServerError, "server_error", "deadline_exceeded"),
        (ErrorCode.UNAVAILABLE, openai.InternalServerError, "server_error", "unavailable"),
        (ErrorCode.CANCELLED, openai.APIStatusError, "invalid_request_error", "cancelled"),
        (ErrorCode.INTERNAL, openai.InternalServerError, "server_error", "internal"),
    ],
)
async def test_openai_errors_are_its_exceptions(
    client: AsyncOpenAI, server: ThriftServer, code: int, error: type[openai.APIStatusError], kind: str, name: str
) -> None:
    server.embed_matrix = server.generate = server.generate_begin = refuse(code)
    calls = (
        lambda: client.embeddings.create(model="nosuch", input="a"),
        lambda: client.completions.create(model="nosuch", prompt="a"),
        lambda: client.completions.create(model="nosuch", prompt="a", stream=True),
    )
    for call in calls:
        with pytest.raises(error) as failed:
            await call()
        assert (failed.value.type, failed.value.code) == (kind, name)
        assert failed.value.body == {"message": "refused", "type": kind, "param": None, "code": name}
        assert failed.value.request_id


async def test_openai_client_tries_again_when_the_server_was_overloaded(proxy: Proxy, server: ThriftServer) -> None:
    generate, refused = server.generate, []

    def overloaded_once(*arguments: Any) -> Generation:
        if not refused:
            refused.append(1)
            raise PredictionError(ErrorCode.OVERLOADED, "the queue is full", 100)
        return generate(*arguments)

    server.generate = overloaded_once
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=1) as client:
        answer = await client.completions.create(model="gpt2", prompt="a")
    assert answer.choices[0].text == TEXT
    assert refused


async def ask(proxy: Proxy, path: str, body: Any) -> Answer:
    return await proxy.ask("POST", path, json=body)


EMBED, COMPLETE = "/v1/embeddings", "/v1/completions"
EMBEDDED, COMPLETED = {"model": "m", "input": "a"}, {"model": "m", "prompt": "a"}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (EMBED, {"model": "m"}, "input: this field is required"),
        (EMBED, {"input": "a"}, "model: this field is required"),
        (EMBED, EMBEDDED | {"input": None}, "input: expected a string or a list of strings"),
        (EMBED, EMBEDDED | {"input": []}, "input: the list is empty"),
        (EMBED, EMBEDDED | {"input": [1, -2]}, "input: expected a list of token ids, whole numbers of at least 0"),
        (EMBED, EMBEDDED | {"input": [1, "a"]}, "input: expected a list of token ids, whole numbers of at least 0"),
        (EMBED, EMBEDDED | {"input": [[1], []]}, "input[1]: expected a list of token ids, whole numbers of at least 0"),
        (
            EMBED,
            EMBEDDED | {"input": [[1], "a"]},
            "input[1]: expected a list of token ids, whole numbers of at least 0",
        ),
        (EMBED, EMBEDDED | {"input": ["a", 1]}, "input[1]: expected a string, got a number"),
        (EMBED, EMBEDDED | {"input": ["a", 1]}, "input[1]: expected a string, got "),
        (EMBED, EMBEDDED | {"encoding_format": "hex"}, "encoding_format: expected 'float'"),
        (COMPLETE, {"model": "m"}, "prompt: this field is required"),
        (COMPLETE, COMPLETED | {"prompt": None}, "prompt: expected a string or a list of strings"),
        (COMPLETE, COMPLETED | {"prompt": []}, "prompt: the list is empty"),
        (COMPLETE, COMPLETED | {"prompt": [1, -1]}, "prompt: expected a list of token ids, whole numbers of at least"),
        (COMPLETE, COMPLETED | {"prompt": [[1], []]}, "prompt[1]: expected a list of token ids"),
        (COMPLETE, COMPLETED | {"max_tokens": -1}, "max_tokens: must be at least 0"),
        (COMPLETE, COMPLETED | {"temperature": -1}, "temperature: must be at least"),
        (COMPLETE, COMPLETED | {"temperature": float("nan")}, "temperature: must be a finite"),
        (COMPLETE, COMPLETED | {"stop": ["x"] * 10_000}, "stop: must have at most 16 items"),
        (COMPLETE, COMPLETED | {"n": 0}, "n: must be at least 1"),
        (COMPLETE, COMPLETED | {"n": 129}, "n: must be at most 128"),
        (COMPLETE, COMPLETED | {"n": 2, "best_of": 3}, "best_of: must be the same as n"),
        (COMPLETE, COMPLETED | {"logprobs": 21}, "logprobs: must be at most 20"),
        (COMPLETE, COMPLETED | {"logit_bias": {"1": 1}, "n": 2, "best_of": 1}, "best_of: must be the same as n"),
        (COMPLETE, COMPLETED | {"suffix": "a"}, "suffix: only '' is supported"),
    ],
)
async def test_openai_wrong_requests_are_400(
    proxy: Proxy, server: ThriftServer, path: str, body: dict[str, Any], message: str
) -> None:
    answer = await ask(proxy, path, body)
    assert answer.status == 400
    error, param = answer.json["error"], message.partition(":")[0]
    assert error["message"].startswith(message)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, "invalid_argument")
    assert server.calls == []


@pytest.mark.parametrize(
    ("path", "body", "field", "param"),
    [
        (EMBED, EMBEDDED, "options.model", "model"),
        (EMBED, EMBEDDED, "texts[0]", "input"),
        (EMBED, EMBEDDED | {"input": ["a", "b"]}, "texts[1]", "input[1]"),
        (EMBED, EMBEDDED, None, None),
        (COMPLETE, COMPLETED, "generation_options.stop[0]", "stop[0]"),
        (COMPLETE, COMPLETED, "prompt", "prompt"),
        (COMPLETE, COMPLETED | {"prompt": ["a", "b"]}, "prompt", "prompt[1]"),
        (COMPLETE, COMPLETED | {"prompt": ["a", "b"]}, "generation_options.max_tokens", "max_tokens"),
        (COMPLETE, COMPLETED | {"prompt": ["a", "b"]}, None, None),
    ],
)
async def test_openai_what_the_server_refuses_is_named_as_it_is_in_the_request(
    proxy: Proxy, server: ThriftServer, path: str, body: dict[str, Any], field: str | None, param: str | None
) -> None:
    def refusing(answer: Callable[..., Any]) -> Callable[..., Any]:
        def refuse_last(given: Any, *more: Any) -> Any:
            if given == "a" and body.get("prompt") == ["a", "b"]:
                return answer(given, *more)
            message = "wrong (setting max_tokens)"
            raise PredictionError(
                ErrorCode.INVALID_ARGUMENT, f"{field}: {message}" if field else message, None, None, field, "max_tokens"
            )

        return refuse_last

    for method in ("embed_matrix", "generate", "generate_begin"):
        setattr(server, method, refusing(getattr(server, method)))
    for fields in (body, body | {"stream": True}) if path == COMPLETE else (body,):
        answer = await ask(proxy, path, fields)
        error, message = answer.json["error"], "wrong (setting max_tokens)"
        assert (answer.status, error["param"], error["setting"]) == (400, param, "max_tokens")
        assert error["message"] == (f"{param}: {message}" if param else message)


async def test_openai_fields_that_are_not_known_are_not_read(proxy: Proxy, server: ThriftServer) -> None:
    fields = {"messages": [], "store": True, "stream_options": {"x": 1}, "model": None}
    assert (await ask(proxy, COMPLETE, {"prompt": "a", **fields})).status == 200
    [(_, wanted, options)] = server.named("generate")
    assert (wanted, options.model) == (GenerationOptions(max_tokens=16, clamp_max_tokens=True), None)


async def test_openai_n_texts_of_each_prompt_have_their_own_seeds(proxy: Proxy, server: ThriftServer) -> None:
    body = {"prompt": ["a", "b"], "n": 3, "best_of": 3, "seed": 2**63 - 2, "max_completion_tokens": 7, "stop": ""}
    answer = await ask(proxy, COMPLETE, body)
    assert [choice["index"] for choice in answer.json["choices"]] == list(range(6))
    asked = sorted((prompt, how.seed, how.max_tokens, how.stop) for prompt, how, _ in server.named("generate"))
    seeds = [-(2**63), 2**63 - 2, 2**63 - 1]
    assert asked == [(prompt, seed, 7, None) for prompt in "ab" for seed in seeds]
    assert answer.json["usage"] == {"prompt_tokens": 6, "completion_tokens": 24, "total_tokens": 30}


async def test_openai_prompts_of_tokens(proxy: Proxy, server: ThriftServer) -> None:
    assert (await ask(proxy, COMPLETE, {"prompt": [1, 2]})).status == 200
    assert (await ask(proxy, COMPLETE, {"prompt": [[3], [4, 5]]})).status == 200
    asked = [(prompt, how.prompt_token_ids) for prompt, how, _ in server.named("generate")]
    assert sorted(asked) == [("", [1, 2]), ("", [3]), ("", [4, 5])]


@pytest.mark.parametrize(
    ("field", "setting", "status", "code"),
    [
        ("prompt", None, 400, "context_length_exceeded"),
        ("prompt", "max_tokens", 400, "context_length_exceeded"),
        ("generation_options.prompt_token_ids", "max_tokens", 400, "context_length_exceeded"),
        ("prompt", "max_message_bytes", 413, "too_large"),
        ("generation_options.stop", None, 413, "too_large"),
    ],
)
async def test_openai_code_of_a_prompt_that_is_too_long(
    proxy: Proxy, server: ThriftServer, field: str, setting: str | None, status: int, code: str
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise PredictionError(ErrorCode.TOO_LARGE, f"{field}: too long", None, None, field, setting)

    server.generate = refuse
    answer = await ask(proxy, COMPLETE, COMPLETED)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


async def test_openai_null_is_the_same_as_nothing(proxy: Proxy, server: ThriftServer) -> None:
    fields = dict.fromkeys(("max_tokens", "temperature", "stop", "stream", "n", "suffix", "seed", "user"))
    assert (await ask(proxy, COMPLETE, COMPLETED | fields)).status == 200
    [(_, wanted, _)] = server.named("generate")
    assert wanted == GenerationOptions(max_tokens=16, clamp_max_tokens=True)


@pytest.mark.parametrize("path", [EMBED, COMPLETE])
async def test_openai_bodies_that_are_no_json(proxy: Proxy, server: ThriftServer, path: str) -> None:
    for body, content_type, status in (
        (b"model=m&input=a", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"model":"m","input":"\xff","prompt":"\xff"}', "application/json", 400),
        (b" " * (1 << 24) + b" ", "application/json", 413),
    ):
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        async with proxy.session.post(proxy.url + path, data=chunks(body), headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (status, "invalid_request_error")
    assert server.calls == []


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


async def test_openai_only_post(proxy: Proxy) -> None:
    for path in (EMBED, COMPLETE):
        answer = await proxy.ask("GET", path)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.json["error"]["type"] == "invalid_request_error"


async def test_openai_too_many_texts_are_413(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_docs=2, max_generations=1)
    answers = [
        (
            await ask(proxy, EMBED, {"model": "m", "input": ["a"] * 3}),
            "input: 3 items are over the limit of 2 (setting max_docs)",
        ),
        (
            await ask(proxy, COMPLETE, {"model": "m", "prompt": ["a"] * 3}),
            "prompt: 3 items are over the limit of 2 (setting max_docs)",
        ),
        (
            await ask(proxy, COMPLETE, {"model": "m", "prompt": ["a"] * 2}),
            "2 texts are over the limit of 1 at a time (setting max_generations)",
        ),
    ]
    for answer, message in answers:
        assert (answer.status, answer.json["error"]["message"]) == (413, message)
    assert server.calls == []
