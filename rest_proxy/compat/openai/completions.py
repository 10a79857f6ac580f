"""POST /v1/completions: a text for each prompt, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from predictor.ttypes import FinishReason, PredictionError

from process.options import PROMPT_TOKEN_IDS
from process.tracebacks import forget_frames
from rest_proxy.compat.openai.errors import ERRORS, error_object
from rest_proxy.compat.openai.logprobs import CompletionLogprobs
from rest_proxy.compat.openai.requests import CompletionsRequest
from rest_proxy.http.content import EVENT, EVENTS, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import refusal
from rest_proxy.http.requests import check_count, read_json
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.sse import EventStream
from rest_proxy.routes.generation import deadline, pass_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Sequence

    from aiohttp import web
    from predictor.ttypes import Generation, GenerationChunk, GenerationOptions, RequestOptions

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.config import Settings

T = TypeVar("T")

FINISH_REASONS = {
    FinishReason.LENGTH: "length",
    FinishReason.STOP: "stop",
    FinishReason.END_OF_TEXT: "stop",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.DEADLINE: "length",
}
"""As OpenAI has them."""


class Completions:
    """The routes' answers."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def complete(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Texts for each prompt."""
        fields = await read_json(CompletionsRequest, request, self._settings)
        check_count("prompt", fields.prompts, self._settings)
        completion = _Completion(fields, request_id)
        options = fields.options(self._settings, request_id)
        with self._generator.places(len(completion.asked)):
            if fields.stream:
                return await self._stream(request, request_id, completion, options)
            texts = await all_of(
                completion.named(asked, self._generator.whole(asked.prompt, asked.options, options))
                for asked in completion.asked
            )
        choices = [
            _Choice(fields, asked).whole(generation) for asked, generation in zip(completion.asked, texts, strict=True)
        ]
        usage = completion.usage(texts)
        return json_response({**completion.head, "choices": choices, "usage": usage}, request_id)

    async def _stream(
        self, request: web.BaseRequest, request_id: str, completion: _Completion, options: RequestOptions
    ) -> web.StreamResponse:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(deadline(request, options, self._settings))
            texts = [
                await completion.named(
                    asked,
                    stack.enter_async_context(self._generator.stream(asked.prompt, asked.options, options)),
                )
                for asked in completion.asked
            ]
            events = EventStream(request, request_id, error_object, error_prefix=b"data: ")
            await stack.enter_async_context(events)
            last = await all_of(
                completion.send(asked, text, events) for asked, text in zip(completion.asked, texts, strict=True)
            )
            if completion.fields.with_usage:
                await events.send({**completion.head, "choices": [], "usage": completion.usage(last)})
            await events.send_text("[DONE]")
        return events.response


class _Asked(NamedTuple):
    """One text that is asked for."""

    place: int
    """Of its prompt."""
    number: int
    """Of the choice."""
    prompt: str
    options: GenerationOptions


class _Completion:
    """What the parts of one answer have in common."""

    def __init__(self, fields: CompletionsRequest, request_id: str) -> None:
        self.fields = fields
        self.asked = list(_all_asked(fields))
        self.head = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": fields.model or "",
        }

    async def named(self, asked: _Asked, text: Awaitable[T]) -> T:
        """`text`; an error in its prompt says which of several it is."""
        name = f"prompt[{asked.place}]" if len(self.fields.prompts) > 1 else "prompt"
        try:
            return await text
        except PredictionError as error:
            told = refusal(error, {"prompt": name, PROMPT_TOKEN_IDS.name: name, **self.fields.form_fields})
            forget_frames(error)
            raise told from None

    def usage(self, ends: Sequence[Generation | GenerationChunk]) -> dict[str, int]:
        """Tokens of the prompts, each once, and of the texts; of each text its whole or its last part."""
        prompts = sum(end.prompt_tokens or 0 for end in ends[:: self.fields.choices])
        texts = sum(end.token_count for end in ends)
        return {"prompt_tokens": prompts, "completion_tokens": texts, "total_tokens": prompts + texts}

    async def send(self, asked: _Asked, text: TextStream, events: EventStream) -> GenerationChunk:
        """Pass one text on; gives the last part of it."""
        head = {**self.head, "usage": None} if self.fields.with_usage else self.head
        choice = _Choice(self.fields, asked)

        async def send(chunk: GenerationChunk) -> None:
            await events.send({**head, "choices": [choice.part(chunk)]})

        return await self.named(asked, pass_on(text, events, send))


def _all_asked(fields: CompletionsRequest) -> Iterator[_Asked]:
    for place, prompt in enumerate(fields.prompts):
        for number, options in enumerate(fields.each(), place * fields.choices):
            if isinstance(prompt, str):
                yield _Asked(place, number, prompt, options)
            else:
                options.prompt_token_ids = prompt
                yield _Asked(place, number, "", options)


class _Choice:
    """One text, whole or part by part."""

    def __init__(self, fields: CompletionsRequest, asked: _Asked) -> None:
        self._index = asked.number
        self._echoed: str | None = asked.prompt if fields.echo else None
        self._logprobs = None if fields.logprobs is None else CompletionLogprobs()

    def whole(self, done: Generation) -> dict[str, Any]:
        """A whole text."""
        return self._object(done.continuation, done.prompt, done)

    def part(self, chunk: GenerationChunk) -> dict[str, Any]:
        """The next part; the first has the prompt before it."""
        return self._object(chunk.text, chunk.prompt, chunk)

    def _object(self, text: str, prompt: str | None, end: Generation | GenerationChunk) -> dict[str, Any]:
        if self._echoed is not None:
            text, self._echoed = (prompt or self._echoed) + text, None
        logprobs = None
        if self._logprobs is not None:
            logprobs = self._logprobs.part([*(end.prompt_logprobs or ()), *(end.logprobs or ())])
        reason = None if end.finish_reason is None else FINISH_REASONS.get(end.finish_reason, "stop")
        return {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": reason}


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
            description="`usage` counts the tokens of the prompts and of the texts. A text whose deadline passes ends "
            "with what there is of it, and the reason `length`.",
            tag="openai",
            request=CompletionsRequest,
            example=Example({"model": "gpt2", "prompt": "Artificial Intelligence is a", "max_tokens": 2}),
            answers=(Answer({JSON: _schema(), EVENTS: EVENT}, examples={JSON: _example()}),),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
        ),
    ]


def _schema() -> dict[str, Any]:
    reason = {"enum": ["length", "stop", "cancelled"]}
    choice = object_of(index=INTEGER, text=STRING, logprobs={"type": ["object", "null"]}, finish_reason=reason)
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
