"""Options of generated texts over Thrift and HTTP, where they need the model's tokens."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import openai
import pytest
from predictor.ttypes import ErrorCode, FinishReason, GenerationOptions, PredictionError, RequestOptions

from tests.support.generators import train_tiny
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = "Every evening Anna"
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 12}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(train_tiny(tmp_path_factory.mktemp("generators") / "harbour")) as running:
        yield running


@pytest.fixture(scope="module")
def slow_service(slow_generator: Path) -> Iterator[Service]:
    with Service(slow_generator, "--no-rest") as running:
        yield running


def error_of(call: Any, *arguments: Any) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    return caught.value


def streamed(predictor: Any, prompt: str, options: GenerationOptions) -> list[Any]:
    stream = predictor.generate_begin(prompt, options, None)
    chunks = [predictor.generate_next(stream, 1000)]
    while chunks[-1].finish_reason is None:
        chunks.append(predictor.generate_next(stream, 1000))
    return chunks


def test_scores_say_what_was_chosen(service: Service) -> None:
    with service.client() as predictor:
        plain = predictor.generate(PROMPT, GenerationOptions(**GREEDY), None)
        assert (plain.logprobs, plain.prompt_logprobs) == (None, None)
        scored = predictor.generate(PROMPT, GenerationOptions(logprobs=3, prompt_logprobs=0, **GREEDY), None)
        assert scored.continuation == plain.continuation
        assert b"".join(token.bytes for token in scored.logprobs).decode() == scored.continuation
        assert "".join(token.text for token in scored.prompt_logprobs) == PROMPT
        assert scored.prompt_logprobs[0].logprob is None
        for token in scored.logprobs:
            assert (token.id, token.logprob) == (token.top[0].id, token.top[0].logprob), "it is greedy"
            assert sum(math.exp(top.logprob) for top in token.top) <= 1
            assert [len(token.top), len({top.id for top in token.top})] == [3, 3]
        chunks = streamed(predictor, PROMPT, GenerationOptions(logprobs=3, prompt_logprobs=0, **GREEDY))
        assert [token for chunk in chunks for token in chunk.logprobs or []] == scored.logprobs
        assert [token for chunk in chunks for token in chunk.prompt_logprobs or []] == scored.prompt_logprobs


def test_a_prompt_of_tokens_is_the_same_as_its_text(service: Service) -> None:
    with service.client() as predictor:
        text = predictor.generate(PROMPT, GenerationOptions(prompt_logprobs=0, **GREEDY), None)
        ids = [token.id for token in text.prompt_logprobs]
        options = GenerationOptions(prompt_token_ids=ids, **GREEDY)
        given = predictor.generate("", options, None)
        assert (given.prompt, given.continuation, given.prompt_tokens) == (PROMPT, text.continuation, len(ids))
        chunks = streamed(predictor, "", options)
        assert "".join(chunk.text for chunk in chunks) == text.continuation
        assert [chunk.prompt for chunk in chunks if chunk.prompt is not None] == [PROMPT]
        field = "generation_options.prompt_token_ids"
        for wrong, message in (
            (GenerationOptions(prompt_token_ids=[]), f"{field}: is empty"),
            (GenerationOptions(prompt_token_ids=[1, 1 << 20]), f"{field}[1]: there is no token 1048576"),
            (GenerationOptions(prompt_token_ids=[1, -1]), f"{field}[1]: there is no token -1"),
            (GenerationOptions(prompt_token_ids=[1] * 128), f"{field}: 128 tokens, over the limit of 127"),
        ):
            for method in (predictor.generate, predictor.generate_begin):
                assert error_of(method, "", wrong, None).message.startswith(message)
        both = error_of(predictor.generate, "a", options, None)
        assert (both.code, both.field) == (ErrorCode.INVALID_ARGUMENT, field)


def test_no_new_tokens(service: Service) -> None:
    with service.client() as predictor:
        none = predictor.generate(PROMPT, GenerationOptions(max_tokens=0), None)
        assert (none.continuation, none.token_count, none.finish_reason) == ("", 0, FinishReason.LENGTH)
        scored = predictor.generate(PROMPT, GenerationOptions(max_tokens=0, prompt_logprobs=1), None)
        assert len(scored.prompt_logprobs) == scored.prompt_tokens == none.prompt_tokens


def test_what_there_is_room_for(service: Service) -> None:
    """The model has 128 positions."""
    prompt = "a b " * 30
    with service.client() as predictor:
        options = {"temperature": 0.0, "ignore_eos": True}
        asked = [
            predictor.generate(prompt, GenerationOptions(max_tokens=tokens, clamp_max_tokens=True, **options), None)
            for tokens in (127, 10_000)
        ]
        assert [done.token_count for done in asked] == [128 - asked[0].prompt_tokens] * 2
        refused = error_of(predictor.generate, prompt, GenerationOptions(max_tokens=127), None)
        assert (refused.code, refused.field) == (ErrorCode.TOO_LARGE, "prompt")


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"min_p": 1.1}, "min_p", "must lie between 0 and 1, got 1.1"),
        ({"presence_penalty": 2.5}, "presence_penalty", "must lie between -2 and 2, got 2.5"),
        ({"frequency_penalty": math.nan}, "frequency_penalty", "must be a finite number, got nan"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "must lie between 0 and 8, got 9"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids", "must have at most 64 items, got 65"),
        ({"stop_token_ids": [1, 512]}, "stop_token_ids[1]", "there is no token 512: the model has 512"),
        ({"logit_bias": {512: 1.0}}, "logit_bias[512]", "there is no token 512: the model has 512"),
        ({"logit_bias": {7: 101.0}}, "logit_bias[7]", "must lie between -100 and 100, got 101.0"),
        ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "logit_bias", "must have at most 1024 items, got 1025"),
        ({"logprobs": 21}, "logprobs", "must lie between 0 and 20, got 21"),
        ({"prompt_logprobs": -1}, "prompt_logprobs", "must lie between 0 and 20, got -1"),
    ],
)
def test_what_is_refused(service: Service, options: dict[str, Any], field: str, message: str) -> None:
    path = f"generation_options.{field}"
    with service.client() as predictor:
        for method in (predictor.generate, predictor.generate_begin):
            error = error_of(method, PROMPT, GenerationOptions(**options), None)
            assert (error.field, error.message) == (path, f"{path}: {message}")


def test_a_deadline_keeps_what_there_is(slow_service: Service) -> None:
    """The model takes longer for 900 tokens than the call may."""
    options = GenerationOptions(max_tokens=900, temperature=0.0, ignore_eos=True)
    with slow_service.client() as predictor:
        whole = predictor.generate(PROMPT, options, RequestOptions(timeout_ms=60_000))
        assert whole.finish_reason == FinishReason.LENGTH
        for timeout_ms in (800, 400, 200, 100, 50):
            done = predictor.generate(PROMPT, options, RequestOptions(timeout_ms=timeout_ms))
            if done.finish_reason == FinishReason.DEADLINE:
                break
        else:
            pytest.fail("the deadline never passed in the middle of the text")
        assert 0 < done.token_count < 900
        assert done.continuation
        assert whole.continuation.startswith(done.continuation)


# -------------------------------------------------------------------------------------------------- as OpenAI has them


@pytest.fixture(scope="module")
def openai_client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{service.rest_port}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_echo_with_logprobs_scores_the_prompt(openai_client: openai.OpenAI, service: Service) -> None:
    """As lm-eval asks for it, with text and with ids of tokens; whole and streamed."""
    with service.client() as predictor:
        scored = predictor.generate(PROMPT, GenerationOptions(logprobs=2, prompt_logprobs=2, **GREEDY), None)
    tokens = [*scored.prompt_logprobs, *scored.logprobs]
    ids = [token.id for token in scored.prompt_logprobs]
    given: dict[str, Any] = {"model": "harbour", "max_tokens": 12, "temperature": 0, "echo": True, "logprobs": 2}
    for prompt in (PROMPT, ids, [ids]):
        done = openai_client.completions.create(prompt=prompt, **given)
        (choice,) = done.choices
        assert choice.text == PROMPT + scored.continuation
        found = choice.logprobs
        assert found is not None
        assert found.tokens == [token.text for token in tokens]
        assert found.token_logprobs == [token.logprob for token in tokens]
        assert [
            choice.text[at:][: len(text)] for at, text in zip(found.text_offset, found.tokens, strict=True)
        ] == found.tokens
        assert found.top_logprobs[0] is None
        assert all(top[text] for top, text in zip(found.top_logprobs[1:], found.tokens[1:], strict=True))
        parts = list(openai_client.completions.create(prompt=prompt, stream=True, **given))
        assert "".join(part.choices[0].text for part in parts) == choice.text
        for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
            of_parts = [getattr(part.choices[0].logprobs, name) for part in parts]
            assert [item for items in of_parts for item in items] == getattr(found, name)
    alone = openai_client.completions.create(prompt=ids, **given | {"max_tokens": 0})
    assert alone.choices[0].text == PROMPT
    assert alone.choices[0].logprobs is not None
    assert alone.choices[0].logprobs.token_logprobs == [token.logprob for token in scored.prompt_logprobs]


def test_openai_n_texts_differ_and_each_is_that_of_its_seed(openai_client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "harbour", "prompt": PROMPT, "max_tokens": 10}
    texts = [choice.text for choice in openai_client.completions.create(n=3, seed=5, **given).choices]
    assert len(set(texts)) == 3
    alone = [openai_client.completions.create(seed=5 + number, **given).choices[0].text for number in range(3)]
    assert texts == alone


def test_openai_limits_are_what_there_is_room_for(openai_client: openai.OpenAI) -> None:
    long = openai_client.completions.create(
        model="harbour",
        prompt=PROMPT,
        max_tokens=100_000,
        extra_body={"ignore_eos": True, "top_k": -1},
        top_p=0,
        stop="",
    )
    assert long.usage is not None
    assert long.usage.completion_tokens in (127, 128 - long.usage.prompt_tokens)
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(model="harbour", prompt="a b " * 1000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(model="harbour", prompt=[[1], [512]])
    assert (caught.value.code, caught.value.param) == ("invalid_argument", "prompt[1][0]")


# ------------------------------------------------------------------------------------------------- texts with a form

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"boat": {"type": "string", "maxLength": 8}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["boat", "n"],
    "additionalProperties": False,
}


def test_a_text_is_json_by_its_schema(service: Service, openai_client: openai.OpenAI) -> None:
    """Over Thrift, whole and streamed, and as OpenAI's and vLLM's clients ask for it."""
    options = GenerationOptions(max_tokens=100, json_schema=json.dumps(SCHEMA), seed=3)
    with service.client() as predictor:
        done = predictor.generate(PROMPT, options, None)
        parts = streamed(predictor, PROMPT, options)
    texts = [done.continuation, "".join(part.text for part in parts)]
    for extra in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "boat", "schema": SCHEMA}}},
        {"guided_json": SCHEMA},
        {"json_schema": SCHEMA},
    ):
        given: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 100, "seed": 3, "extra_body": extra}
        texts.append(openai_client.completions.create(model="harbour", **given).choices[0].text)
    assert len(set(texts)) == 1
    jsonschema.validate(json.loads(texts[0]), SCHEMA)
    assert done.finish_reason in (FinishReason.STOP, FinishReason.END_OF_TEXT)
    for extra, pattern in (
        ({"guided_regex": "[ab]{3}"}, "[ab]{3}"),
        ({"guided_grammar": 'start: "yes" | "no"'}, "yes|no"),
    ):
        text = openai_client.completions.create(model="harbour", prompt=PROMPT, extra_body=extra).choices[0].text
        assert re.fullmatch(pattern, text)


def test_a_wrong_form_is_refused_by_its_field(service: Service, openai_client: openai.OpenAI) -> None:
    long = "x" * 65_537
    with service.client() as predictor:
        for method in (predictor.generate, predictor.generate_begin):
            wrong = error_of(method, PROMPT, GenerationOptions(json_schema='{"type": "boat"}'), None)
            assert (wrong.code, wrong.field) == (ErrorCode.INVALID_ARGUMENT, "generation_options.json_schema")
            large = error_of(method, PROMPT, GenerationOptions(regex=long), None)
            assert (large.code, large.field) == (ErrorCode.TOO_LARGE, "generation_options.regex")
    for extra, param in (
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "boat"}}}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"guided_regex": "(a"}, "guided_regex"),
        ({"grammar": long}, "grammar"),
    ):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as caught:
                openai_client.completions.create(model="harbour", prompt="a", stream=stream, extra_body=extra)
            assert caught.value.param == param
