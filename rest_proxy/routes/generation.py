"""POST /generate: a text from a prompt, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from predictor.ttypes import GenerationOptions
from pydantic import BeforeValidator, Field

from rest_proxy.backend.contract import plain
from rest_proxy.http.requests import Asked, read_request
from rest_proxy.http.responses import json_response
from rest_proxy.http.sse import EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import web
    from predictor.ttypes import GenerationChunk, RequestOptions

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.config import Settings

_MOST_STOPS = 16
_I32, _I64 = 2**31 - 1, 2**63 - 1


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class GenerationAsked(Asked):
    """How a text is to be generated; what is not given is as the contract says."""

    repeated: ClassVar[str | None] = "stop"

    max_tokens: int | None = Field(None, ge=1, le=_I32, description="New tokens at most; 20 if not given.")
    temperature: float | None = Field(
        None, ge=0, le=10, allow_inf_nan=False, description="0: the likeliest token each time; 1 if not given."
    )
    top_k: int | None = Field(None, ge=0, le=_I32, description="Sample from the k likeliest tokens only; 0: from all.")
    top_p: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="Sample from the likeliest tokens that together reach this."
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=10, allow_inf_nan=False, description="Over 1: tokens that were there become less likely."
    )
    stop: Annotated[list[str], BeforeValidator(_listed)] | None = Field(
        None, max_length=_MOST_STOPS, description="Strings that end the text and are not part of it."
    )
    seed: int | None = Field(None, ge=-_I64 - 1, le=_I64, description="The same seed gives the same text.")

    def generation_options(self) -> GenerationOptions:
        """The contract's options."""
        return GenerationOptions(
            self.max_tokens, self.temperature, self.top_k, self.top_p, self.repetition_penalty, self.stop, self.seed
        )

    def default_timeout_ms(self, settings: Settings) -> int:
        """Texts take longer than other answers."""
        return settings.generation_timeout_ms


class GenerateRequest(GenerationAsked):
    """A prompt, and whether the text is wanted as it grows."""

    prompt: str = Field(description="The text to go on from.")
    stream: bool | None = Field(None, description="Server-sent events instead of one answer.")


class Generate:
    """The route."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """The contract's Generation; with `stream` an event for each GenerationChunk, the last with a finish_reason."""
        asked = await read_request(GenerateRequest, request, self._settings)
        wanted, options = asked.generation_options(), asked.options(self._settings, request_id)
        with self._generator.places():
            if not asked.stream:
                return json_response(plain(await self._generator.whole(asked.prompt, wanted, options)), request_id)
            async with (
                deadline(request, options, self._settings),
                self._generator.stream(asked.prompt, wanted, options) as text,
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
        if chunk.text or chunk.finish_reason is not None:
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
