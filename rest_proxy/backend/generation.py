"""Texts that the servers generate, whole or as they grow."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, PredictionError
from thrift.Thrift import TApplicationException

from rest_proxy.backend.contract import (
    CHAT,
    CHAT_BEGIN,
    GENERATE,
    GENERATE_BEGIN,
    GENERATE_CANCEL,
    GENERATE_NEXT,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from predictor.ttypes import (
        ChatCompletion,
        ChatMessage,
        ChatOptions,
        Generation,
        GenerationChunk,
        GenerationOptions,
        RequestOptions,
    )

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool, Server
    from rest_proxy.config import Settings

_CANCEL_TIMEOUT_MS = 2000


class Generator:
    """At most `settings.max_generations` texts at a time, each with a connection of its own to the server.

    So no other call waits behind one that takes seconds, and a server learns at once that a caller is gone.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self.in_progress = 0

    @contextlib.contextmanager
    def places(self, count: int = 1) -> Iterator[None]:
        """Room for so many texts in the block. Raises PredictionError when there is none, now or ever."""
        most = self._settings.max_generations
        if count > most:
            message = f"{count} texts are over the limit of {most} at a time (setting max_generations)"
            raise PredictionError(ErrorCode.TOO_LARGE, message, setting="max_generations")
        if self.in_progress + count > most:
            message = f"no room for {count} more of {most} texts at a time (setting max_generations)"
            raise PredictionError(ErrorCode.OVERLOADED, message, 1000, setting="max_generations")
        self.in_progress += count
        try:
            yield
        finally:
            self.in_progress -= count

    async def whole(self, prompt: str, generation_options: GenerationOptions, options: RequestOptions) -> Generation:
        """The text when it is complete. Raises what Pool.call does."""
        return await self._pool.call(
            GENERATE, prompt, generation_options, options, timeout_ms=options.timeout_ms, alone=True
        )

    async def chat(
        self,
        messages: list[ChatMessage],
        generation_options: GenerationOptions,
        options: RequestOptions,
        chat_options: ChatOptions,
    ) -> ChatCompletion:
        """The answer when it is complete. Raises what Pool.call does."""
        return await self._pool.call(
            CHAT, messages, generation_options, options, chat_options, timeout_ms=options.timeout_ms, alone=True
        )

    def stream(
        self, prompt: str, generation_options: GenerationOptions, options: RequestOptions
    ) -> contextlib.AbstractAsyncContextManager[TextStream]:
        """A text that grows; unless it is complete, it is cancelled at the block's end. Raises what Pool.call does."""
        return self._growing(GENERATE_BEGIN, prompt, generation_options, options, timeout_ms=options.timeout_ms)

    def chat_stream(
        self,
        messages: list[ChatMessage],
        generation_options: GenerationOptions,
        options: RequestOptions,
        chat_options: ChatOptions,
    ) -> contextlib.AbstractAsyncContextManager[TextStream]:
        """An answer that grows, likewise."""
        arguments = (messages, generation_options, options, chat_options)
        return self._growing(CHAT_BEGIN, *arguments, timeout_ms=options.timeout_ms)

    @contextlib.asynccontextmanager
    async def _growing(self, method: Method, *arguments: Any, timeout_ms: int) -> AsyncIterator[TextStream]:
        text = await self._start(method, *arguments, timeout_ms=timeout_ms)
        try:
            yield text
        finally:
            await text.cancel()

    async def _start(self, method: Method, *arguments: Any, timeout_ms: int) -> TextStream:
        call = self._pool.call_somewhere(method, *arguments, timeout_ms=timeout_ms, alone=True)
        started = asyncio.ensure_future(call)
        try:
            return TextStream(self._settings, self._pool, *await asyncio.shield(started))
        except (
            asyncio.CancelledError
        ):  # the client went away while the text was started: wait for what must be cancelled
            with contextlib.suppress(PredictionError, TApplicationException, UnicodeEncodeError):
                await TextStream(self._settings, self._pool, *await started).cancel()
            raise


class TextStream:
    """One text on one server."""

    def __init__(self, settings: Settings, pool: Pool, stream_id: str, upstream: Server) -> None:
        self._wait_ms = settings.heartbeat_ms
        self._interval_s = settings.stream_interval_ms / 1000
        self._not_before = 0.0
        self._pool = pool
        self._stream_id = stream_id
        self._upstream = upstream
        self._complete = False

    async def next(self) -> GenerationChunk:
        """What came since the last chunk, which may be nothing after heartbeat_ms. Raises what Pool.call does.

        A model may be faster than anyone reads: to ask for every token by itself costs more than to generate it.
        """
        loop = asyncio.get_running_loop()
        if (pause := self._not_before - loop.time()) > 0:
            await asyncio.sleep(pause)
        chunk: Any = await self._pool.call_at(
            self._upstream, GENERATE_NEXT, self._stream_id, self._wait_ms, timeout_ms=self._wait_ms
        )
        self._not_before = loop.time() + self._interval_s
        self._complete = chunk.finish_reason is not None
        return chunk

    async def cancel(self) -> None:
        """Stop the work, unless the text is complete."""
        if not self._complete:
            with contextlib.suppress(PredictionError, TApplicationException):
                await self._pool.call_at(
                    self._upstream, GENERATE_CANCEL, self._stream_id, timeout_ms=_CANCEL_TIMEOUT_MS
                )
