"""POST /generate: a text from a prompt, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from predictor.ttypes import Generation, GenerationOptions
from pydantic import BeforeValidator, Field

from process.options import MAX_TOKENS, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P
from rest_proxy.backend.contract import plain, schema
from rest_proxy.http.content import EVENTS, JSON, STRING
from rest_proxy.http.requests import ModelRequest, option_field, read_request
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


def _in_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class GenerationRequest(ModelRequest):
    """How a text is to be generated; what is not given is as the contract says."""

    repeated: ClassVar[tuple[str, ...]] = ("stop",)

    max_tokens: int | None = option_field(MAX_TOKENS)
    temperature: float | None = option_field(TEMPERATURE)
    top_k: int | None = option_field(TOP_K)
    top_p: float | None = option_field(TOP_P)
    repetition_penalty: float | None = option_field(REPETITION_PENALTY)
    stop: Annotated[list[str], BeforeValidator(_in_list)] | None = option_field(STOP)
    seed: int | None = option_field(SEED)

    def generation_options(self) -> GenerationOptions:
        """The contract's options."""
        return GenerationOptions(
            self.max_tokens, self.temperature, self.top_k, self.top_p, self.repetition_penalty, self.stop, self.seed
        )

    def default_timeout_ms(self, settings: Settings, items: int) -> int:
        """Texts take longer than other answers."""
        return settings.generation_timeout_ms


class PromptRequest(GenerationRequest):
    """A prompt, and whether the text is sent as it grows."""

    prompt: str = Field(description="The text to continue.")
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
        if chunk.text or chunk.tool_calls or chunk.finish_reason is not None:
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
                    {JSON: schema(Generation), EVENTS: STRING},
                    examples={
                        JSON: {"prompt": _PROMPT, "token_count": 2, **_EXAMPLE},
                        EVENTS: 'data: {"text":" new","token_count":1}\n\n',
                    },
                ),
            ),
            errors=MODEL_ERRORS,
        )
    ]
