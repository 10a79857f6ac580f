"""POST /generate: a text from a prompt, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import orjson
from predictor.ttypes import Generation, GenerationOptions
from pydantic import BeforeValidator, Field, WithJsonSchema

from process import options as table
from process.options import MAX_TOKENS, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P
from rest_proxy.backend.contract import plain, schema
from rest_proxy.http.content import EVENT, EVENTS, JSON, STRING
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.requests import Also, ModelRequest, TokenId, option_field, read_request
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import ANY_FORM, MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.sse import EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import web
    from predictor.ttypes import GenerationChunk, RequestOptions

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.config import Settings

_PROMPT = "Artificial Intelligence is a"
_EXAMPLE = {"continuation": " new field", "finish_reason": "LENGTH", "prompt_tokens": 5}
_DESCRIPTION = (
    "With `stream` server-sent events: each is a GenerationChunk of the contract, the last one has a finish_reason "
    "or is of the type `error`. A client that goes away ends the work."
)


def in_list(value: Any) -> Any:
    """A string as a list of one, for pydantic."""
    return [value] if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


JsonText = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "boolean"}, STRING]})
]
"""A JSON value, or its text."""


class GenerationRequest(ModelRequest):
    """How a text is to be generated; what is not given is as the contract says."""

    repeated: ClassVar[tuple[str, ...]] = ("stop", "stop_token_ids", "prompt_token_ids")

    max_tokens: int | None = option_field(MAX_TOKENS)
    temperature: float | None = option_field(TEMPERATURE)
    top_k: int | None = option_field(TOP_K)
    top_p: float | None = option_field(TOP_P)
    repetition_penalty: float | None = option_field(REPETITION_PENALTY)
    stop: Annotated[list[str], BeforeValidator(in_list), Also(STRING)] | None = option_field(STOP)
    seed: int | None = option_field(SEED)
    min_p: float | None = option_field(table.MIN_P)
    presence_penalty: float | None = option_field(table.PRESENCE_PENALTY)
    frequency_penalty: float | None = option_field(table.FREQUENCY_PENALTY)
    min_tokens: int | None = option_field(table.MIN_TOKENS)
    stop_token_ids: list[TokenId] | None = option_field(table.STOP_TOKEN_IDS)
    ignore_eos: bool | None = option_field(table.IGNORE_EOS)
    logit_bias: dict[TokenId, float] | None = option_field(table.LOGIT_BIAS)
    logprobs: int | None = option_field(table.LOGPROBS)
    prompt_logprobs: int | None = option_field(table.PROMPT_LOGPROBS)
    prompt_token_ids: list[TokenId] | None = option_field(table.PROMPT_TOKEN_IDS)
    json_schema: JsonText | None = option_field(table.JSON_SCHEMA)
    regex: str | None = option_field(table.REGEX)
    grammar: str | None = option_field(table.GRAMMAR)
    clamp_max_tokens: bool | None = option_field(table.CLAMP_MAX_TOKENS)

    def generation_options(self) -> GenerationOptions:
        """The contract's options."""
        return GenerationOptions(**{name: getattr(self, name) for name in table.GENERATION_OPTIONS})

    def default_timeout_ms(self, settings: Settings, items: int) -> int:
        """Texts take longer than other answers."""
        return settings.generation_timeout_ms


class PromptRequest(GenerationRequest):
    """A prompt, and whether the text is sent as it grows."""

    prompt: str | None = Field(None, description="The text to continue; give this or prompt_token_ids.")
    stream: bool | None = Field(None, description="Server-sent events instead of one answer.")


class Generate:
    """The route's answers."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """The contract's Generation; with `stream` an event for each GenerationChunk, the last with a finish_reason."""
        fields = await read_request(PromptRequest, request, self._settings)
        prompt, how = fields.prompt, fields.generation_options()
        if prompt is None:
            if fields.prompt_token_ids is None:
                raise invalid_argument("this field is required", field="prompt")
            prompt = ""
        options = fields.options(self._settings, request_id)
        with self._generator.places():
            if not fields.stream:
                return json_response(plain(await self._generator.whole(prompt, how, options)), request_id)
            async with (
                deadline(request, options, self._settings),
                self._generator.stream(prompt, how, options) as text,
                EventStream(request, request_id) as events,
            ):
                await pass_on(text, events, lambda chunk: events.send(plain(chunk)))
            return events.response


async def pass_on(
    text: TextStream, events: EventStream, send: Callable[[GenerationChunk], Awaitable[None]]
) -> GenerationChunk:
    """Send every chunk of a text that has something in it; gives the last one."""
    while True:
        chunk = await text.next()
        if chunk.text or chunk.tool_calls or chunk.logprobs or chunk.prompt or chunk.finish_reason is not None:
            await send(chunk)
        else:
            await events.heartbeat()
        if chunk.finish_reason is not None:
            return chunk


@contextlib.asynccontextmanager
async def deadline(request: web.BaseRequest, options: RequestOptions, settings: Settings) -> AsyncIterator[None]:
    """Break the connection of a stream that should have ended long ago, usually because its client does not read."""
    try:
        async with asyncio.timeout((options.timeout_ms + 2 * settings.grace_ms) / 1000):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the stream took longer than its request allows") from None


def routes(settings: Settings, generator: Generator) -> list[Route]:
    """/generate."""
    return [
        Route(
            path="/generate",
            methods=("POST",),
            answer=Generate(settings, generator),
            name="generate",
            summary="Continue a prompt",
            description=_DESCRIPTION,
            tag="generation",
            request=PromptRequest,
            request_types=ANY_FORM,
            example=Example({"prompt": _PROMPT, "max_tokens": 2, "temperature": 0}),
            answers=(
                Answer(
                    {JSON: schema(Generation), EVENTS: EVENT},
                    examples={
                        JSON: {"prompt": _PROMPT, "token_count": 2, **_EXAMPLE},
                        EVENTS: {"data": '{"text":" new","token_count":1}'},
                    },
                ),
            ),
            errors=MODEL_ERRORS,
        )
    ]
