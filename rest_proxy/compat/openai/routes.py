"""OpenAI's API for embeddings and completions (https://platform.openai.com/docs/api-reference), for its clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from predictor.ttypes import ErrorCode, FinishReason, ModelState, PredictionError

from rest_proxy.backend.contract import LIST_MODELS
from rest_proxy.compat.openai.requests import CompletionsRequest, EmbeddingsRequest
from rest_proxy.http.errors import HttpError, invalid_argument
from rest_proxy.http.requests import check_count, read_json
from rest_proxy.http.responses import error_headers, json_response, numbers_response
from rest_proxy.http.sse import EventStream
from rest_proxy.routes.embeddings import embed
from rest_proxy.routes.generation import deadline, pass_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from aiohttp import web
    from predictor.ttypes import Generation, GenerationChunk, ModelInfo, RequestOptions

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

T = TypeVar("T")

MODELS = "/v1/models/"
_METHODS = {"embed_matrix", "generate"}  # a model that serves none of them has no place in this API
_BYTES_PER_TOKEN = 4  # https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
_FINISH_REASONS = {
    FinishReason.LENGTH: "length",
    FinishReason.STOP: "stop",
    FinishReason.END_OF_TEXT: "stop",
    FinishReason.CANCELLED: "cancelled",
}


class OpenAi:
    """The routes. Where a model does not tell the tokens of texts, `usage` takes 4 bytes for each."""

    def __init__(self, settings: Settings, pool: Pool, generator: Generator) -> None:
        self._settings = settings
        self._pool = pool
        self._generator = generator

    async def models(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The models that can be asked here, or the one that the path names."""
        infos = await self._pool.call(LIST_MODELS, timeout_ms=self._settings.timeout_ms)
        models = {info.name: _model(info) for info in infos if _can_be_asked(info)}
        path = request.rel_url.raw_path
        if not path.startswith(MODELS):
            return json_response({"object": "list", "data": list(models.values())}, request_id)
        name = unquote(path.removeprefix(MODELS))
        if name not in models:
            raise HttpError(ErrorCode.NOT_FOUND, f"no model {name[:64]!r} embeds or generates", field="model")
        return json_response(models[name], request_id)

    async def chat(self, _request: web.BaseRequest, _request_id: str) -> web.Response:
        """NOT_FOUND, for those who try this first."""
        raise HttpError(ErrorCode.NOT_FOUND, "no model here chats; POST /v1/completions goes on from a prompt")

    async def embeddings(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A vector for each text of `input`."""
        asked = await read_json(EmbeddingsRequest, request, self._settings)
        texts = _listed(asked.input)
        check_count("input", texts, self._settings)
        vectors, told = await embed(
            self._pool, "input", texts, asked.options(self._settings, request_id), asked.truncate
        )
        columns = vectors.shape[1]
        if asked.dimensions not in (None, columns):
            raise invalid_argument(f"dimensions is {asked.dimensions}; the model has {columns}", field="dimensions")
        rows = (base64.b64encode(row).decode() for row in vectors) if asked.encoding_format == "base64" else vectors
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        tokens = _estimated_tokens(texts) if told is None else told
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return numbers_response({"object": "list", "data": data, "model": asked.model, "usage": usage}, request_id)

    async def completions(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """A text for each prompt, whole or as server-sent events."""
        asked = await read_json(CompletionsRequest, request, self._settings)
        prompts = _listed(asked.prompt)
        check_count("prompt", prompts, self._settings)
        completion = _Completion(asked, prompts, request_id)
        options = asked.options(self._settings, request_id)
        with self._generator.places(len(prompts)):
            if asked.stream:
                return await self._stream(request, request_id, completion, options)
            wanted = asked.generation_options()
            texts = await _all(
                completion.named(index, self._generator.whole(prompt, wanted, options))
                for index, prompt in enumerate(prompts)
            )
        choices = [
            completion.choice(index, generation.continuation, generation.finish_reason, begins=True)
            for index, generation in enumerate(texts)
        ]
        usage = completion.usage(texts)
        return json_response({**completion.head, "choices": choices, "usage": usage}, request_id)

    async def _stream(
        self, request: web.BaseRequest, request_id: str, completion: _Completion, options: RequestOptions
    ) -> web.StreamResponse:
        wanted = completion.asked.generation_options()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(deadline(request, options, self._settings))
            texts = [
                await completion.named(
                    index, stack.enter_async_context(self._generator.stream(prompt, wanted, options))
                )
                for index, prompt in enumerate(completion.prompts)
            ]
            events = EventStream(request, request_id, error_object, error_prefix=b"data: ")
            await stack.enter_async_context(events)
            last = await _all(completion.send(index, text, events) for index, text in enumerate(texts))
            if completion.with_usage:
                await events.send({**completion.head, "choices": [], "usage": completion.usage(last)})
            await events.send_text("[DONE]")
        return events.response


class _Completion:
    """What the parts of one answer have in common."""

    def __init__(self, asked: CompletionsRequest, prompts: list[str], request_id: str) -> None:
        self.asked = asked
        self.prompts = prompts
        self.with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        self.head = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }

    async def named(self, index: int, text: Awaitable[T]) -> T:
        """`text`; an error says which of several prompts it is of."""
        try:
            return await text
        except PredictionError as error:
            if len(self.prompts) > 1:
                error.message = f"prompt[{index}]: {error.message}"
            raise

    def choice(self, index: int, text: str, finish_reason: int | None, *, begins: bool) -> dict[str, Any]:
        """A text, or a part of one; `begins`: the first."""
        echoed = self.prompts[index] if begins and self.asked.echo else ""
        reason = None if finish_reason is None else _FINISH_REASONS.get(finish_reason, "stop")
        return {"index": index, "text": echoed + text, "logprobs": None, "finish_reason": reason}

    def usage(self, ends: Sequence[Generation | GenerationChunk]) -> dict[str, int]:
        """Tokens of the prompts and of the texts, of each its whole or its last part."""
        asked = sum(end.prompt_tokens or 0 for end in ends)
        made = sum(end.token_count for end in ends)
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}

    async def send(self, index: int, text: TextStream, events: EventStream) -> GenerationChunk:
        """Pass one text on; gives the last part of it."""
        head = {**self.head, "usage": None} if self.with_usage else self.head
        begins = True

        async def send(chunk: GenerationChunk) -> None:
            nonlocal begins
            await events.send({**head, "choices": [self.choice(index, chunk.text, chunk.finish_reason, begins=begins)]})
            begins = False

        return await self.named(index, pass_on(text, events, send))


def error_object(error: HttpError, _request_id: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it; the request's id is in the header that they look at."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    if error.status == 429:
        kind = "rate_limit_error"
    code = "model_not_found" if error.code == "NOT_FOUND" else error.code.lower()
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": code}}


def fail(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """An error for an answer."""
    return json_response(error_object(error, request_id), request_id, error.status, error_headers(error))


async def _all(parts: Iterable[Awaitable[Any]]) -> list[Any]:
    """The results of all, which run at the same time; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(part)) for part in parts]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _awaited(part: Awaitable[Any]) -> Any:
    return await part


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _estimated_tokens(texts: list[str]) -> int:
    return sum(-(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN) for text in texts)


def _can_be_asked(info: ModelInfo) -> bool:
    return info.state == ModelState.READY and not _METHODS.isdisjoint(info.methods)


def _model(info: ModelInfo) -> dict[str, Any]:
    return {"id": info.name, "object": "model", "created": 0, "owned_by": "predictor"}  # no one knows when
