"""POST /v1/completions: a text for each prompt, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

from predictor.ttypes import FinishReason, PredictionError

from rest_proxy.compat.openai.errors import ERRORS, error_object
from rest_proxy.compat.openai.requests import CompletionsRequest
from rest_proxy.http.content import EVENTS, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import refusal
from rest_proxy.http.requests import check_count, read_json
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.sse import EventStream
from rest_proxy.routes.generation import deadline, pass_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from aiohttp import web
    from predictor.ttypes import Generation, GenerationChunk, RequestOptions

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.config import Settings

T = TypeVar("T")

FINISH_REASONS = {
    FinishReason.LENGTH: "length",
    FinishReason.STOP: "stop",
    FinishReason.END_OF_TEXT: "stop",
    FinishReason.CANCELLED: "cancelled",
}
"""As OpenAI has them."""


class Completions:
    """The routes' answers."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def complete(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """A text for each prompt."""
        fields = await read_json(CompletionsRequest, request, self._settings)
        prompts = [fields.prompt] if isinstance(fields.prompt, str) else fields.prompt
        check_count("prompt", prompts, self._settings)
        completion = _Completion(fields, prompts, request_id)
        options = fields.options(self._settings, request_id)
        with self._generator.places(len(prompts)):
            if fields.stream:
                return await self._stream(request, request_id, completion, options)
            how = fields.generation_options()
            texts = await all_of(
                completion.named(index, self._generator.whole(prompt, how, options))
                for index, prompt in enumerate(prompts)
            )
        choices = [
            completion.choice(index, generation.continuation, generation.finish_reason, first=True)
            for index, generation in enumerate(texts)
        ]
        usage = completion.usage(texts)
        return json_response({**completion.head, "choices": choices, "usage": usage}, request_id)

    async def _stream(
        self, request: web.BaseRequest, request_id: str, completion: _Completion, options: RequestOptions
    ) -> web.StreamResponse:
        how = completion.fields.generation_options()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(deadline(request, options, self._settings))
            texts = [
                await completion.named(index, stack.enter_async_context(self._generator.stream(prompt, how, options)))
                for index, prompt in enumerate(completion.prompts)
            ]
            events = EventStream(request, request_id, error_object, error_prefix=b"data: ")
            await stack.enter_async_context(events)
            last = await all_of(completion.send(index, text, events) for index, text in enumerate(texts))
            if completion.with_usage:
                await events.send({**completion.head, "choices": [], "usage": completion.usage(last)})
            await events.send_text("[DONE]")
        return events.response


class _Completion:
    """What the parts of one answer have in common."""

    def __init__(self, fields: CompletionsRequest, prompts: list[str], request_id: str) -> None:
        self.fields = fields
        self.prompts = prompts
        self.with_usage = fields.stream_options is not None and fields.stream_options.include_usage
        self.head = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": fields.model,
        }

    async def named(self, index: int, text: Awaitable[T]) -> T:
        """`text`; an error in its prompt says which of several it is."""
        try:
            return await text
        except PredictionError as error:
            raise refusal(error, {"prompt": f"prompt[{index}]"} if len(self.prompts) > 1 else {}) from None

    def choice(self, index: int, text: str, finish_reason: int | None, *, first: bool) -> dict[str, Any]:
        """A text, or a part of one; `first`: the first part."""
        echoed = self.prompts[index] if first and self.fields.echo else ""
        reason = None if finish_reason is None else FINISH_REASONS.get(finish_reason, "stop")
        return {"index": index, "text": echoed + text, "logprobs": None, "finish_reason": reason}

    def usage(self, ends: Sequence[Generation | GenerationChunk]) -> dict[str, int]:
        """Tokens of the prompts and of the texts, of each its whole or its last part."""
        prompts = sum(end.prompt_tokens or 0 for end in ends)
        texts = sum(end.token_count for end in ends)
        return {"prompt_tokens": prompts, "completion_tokens": texts, "total_tokens": prompts + texts}

    async def send(self, index: int, text: TextStream, events: EventStream) -> GenerationChunk:
        """Pass one text on; gives the last part of it."""
        head = {**self.head, "usage": None} if self.with_usage else self.head
        first = True

        async def send(chunk: GenerationChunk) -> None:
            nonlocal first
            await events.send({**head, "choices": [self.choice(index, chunk.text, chunk.finish_reason, first=first)]})
            first = False

        return await self.named(index, pass_on(text, events, send))


async def all_of(parts: Iterable[Awaitable[Any]]) -> list[Any]:
    """The results of all, which run at the same time; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(part)) for part in parts]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _awaited(part: Awaitable[Any]) -> Any:
    return await part


def routes(settings: Settings, generator: Generator) -> list[Route]:
    """/v1/completions."""
    completions = Completions(settings, generator)
    return [
        Route(
            path="/v1/completions",
            methods=("POST",),
            answer=completions.complete,
            name="openaiCompletions",
            summary="Continue prompts, as OpenAI does",
            description="`usage` counts the tokens of the prompts and of the texts.",
            tag="openai",
            request=CompletionsRequest,
            example=Example({"model": "gpt2", "prompt": "Artificial Intelligence is a", "max_tokens": 2}),
            answers=(Answer({JSON: _schema(), EVENTS: STRING}, examples={JSON: _example()}),),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
        ),
    ]


def _schema() -> dict[str, Any]:
    reason = {"enum": ["length", "stop", "cancelled"]}
    choice = object_of(index=INTEGER, text=STRING, logprobs={"type": "null"}, finish_reason=reason)
    return object_of(
        id=STRING,
        object={"const": "text_completion"},
        created=INTEGER,
        model=STRING,
        choices=array_of(choice),
        usage=object_of(prompt_tokens=INTEGER, completion_tokens=INTEGER, total_tokens=INTEGER),
    )


def _example() -> dict[str, Any]:
    return {
        "id": "cmpl-5d1f6a2e-1",
        "object": "text_completion",
        "created": 1750000000,
        "model": "gpt2",
        "choices": [{"index": 0, "text": " new field", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
