"""Texts that an upstream server generates: each is a stream of events, however its caller wants it.

So a text whose deadline passes is what there is of it, and whoever goes away ends the work at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from predictor.ttypes import FinishReason, TokenLogprob, ToolCall, TopLogprob

from process.options import MOST_TOOL_CALLS
from server.models.requests import NO_SCORES, Scores
from server.models.upstream.failures import failure
from server.upstream.errors import AnswerError, RefusedError, UnavailableError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.models.requests import Sampling
    from server.models.task_queue import Item
    from server.upstream.answers import Part, Usage
    from server.upstream.client import Client
    from server.upstream.patience import Patience

    Listener = Callable[[str, int, Scores, list[ToolCall]], object]

log = structlog.get_logger()

_SLACK = 16  # calls of tools have some events besides those of their tokens

_REASONS = {
    "length": FinishReason.LENGTH,
    "stop": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,  # as text-generation-inference has it
    "eos_token": FinishReason.END_OF_TEXT,
    "tool_calls": FinishReason.END_OF_TEXT,
    "function_call": FinishReason.END_OF_TEXT,
    "deadline": FinishReason.DEADLINE,
}


class TextRequest(NamedTuple):
    """A text that a caller wants."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], Part]
    sampling: Sampling
    deadline_ns: int
    listener: Listener | None
    """None: the text is wanted whole."""


class Grown(NamedTuple):
    """A text, or the end of one that was streamed."""

    text: str
    tool_calls: list[ToolCall]
    token_count: int
    finish_reason: int
    prompt_tokens: int | None
    scores: Scores


class Generations:
    """Runs them, one a batch."""

    def __init__(self, client: Client, patience: Patience, most_bytes: int) -> None:
        """`most_bytes`: of a text."""
        self._client = client
        self._patience = patience
        self._most_bytes = most_bytes

    async def run(self, items: Sequence[Item]) -> list[Any]:
        """The text, or why there is none."""
        request: TextRequest = items[0].payload
        growing = Growing(request, self._most_bytes)
        try:
            async with asyncio.timeout((request.deadline_ns - time.monotonic_ns()) / 1e9):
                await self._patience.call(
                    lambda: self._grow(request, growing), lambda: request.listener is None or not growing.started
                )
            return [growing.end()]
        except TimeoutError:
            if not growing.started:
                return [TimeoutError("the deadline passed while the upstream server worked")]
            return [growing.end(FinishReason.DEADLINE)]
        except UpstreamError as error:
            return [failure(error, self._client.address.server)]

    async def _grow(self, request: TextRequest, growing: Growing) -> None:
        body = request.body | {"stream": True, "stream_options": {"include_usage": True}}
        try:
            await self._read(request, body, growing)
        except RefusedError as error:
            if not request.sampling.clamp_max_tokens or "messages" not in body or error.status != 400:
                raise
            # Maybe there is no room for max_tokens. Without it an answer has what room there is, which is less.
            del body["max_tokens"]
            await self._read(request, body, growing)

    async def _read(self, request: TextRequest, body: dict[str, Any], growing: Growing) -> None:
        growing.begin()
        async with contextlib.aclosing(self._client.stream(request.path, body)) as events:
            async for event in events:
                growing.take(request.read(event))
                if growing.is_over:
                    return
        if not growing.has_ended:
            raise UnavailableError("the text was cut off")


class Growing:
    """A text that grows, handed on as it does, or kept until it is whole."""

    def __init__(self, request: TextRequest, most_bytes: int) -> None:
        self._sampling = request.sampling
        self._listener = request.listener
        self._most_bytes = most_bytes
        self._usage: Usage | None = None
        self.begin()

    def begin(self) -> None:
        """Forget what came before: the text is asked for anew."""
        self.started = False
        self._parts: list[str] = []
        self._calls: list[list[Any]] = []
        self._scores: list[TokenLogprob] = []
        self._room = self._most_bytes
        self._events = 0
        self._reason: str | None = None
        self._matched: str | int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the server has said why the text ends."""
        return self._reason is not None

    @property
    def is_over(self) -> bool:
        """Whether it has more tokens than were asked for: the server knows no end."""
        return self._events > self._sampling.max_tokens + _SLACK and not self.has_ended

    def take(self, part: Part) -> None:
        """An event. Raises AnswerError."""
        self._usage = part.usage or self._usage
        if part.text or part.calls:
            if self.has_ended:
                raise AnswerError("a text goes on after its end")
            self._room -= len(part.text) + sum(len(call.arguments) for call in part.calls)
            if self._room < 0:
                raise AnswerError("a text is longer than message_bytes")
            self._events += 1
            self.started = True
        for call in part.calls:
            self._take_call(*call)
        scores = _scores(part.scores, self._sampling.logprobs)
        if part.text or scores.generated:
            self._grow(part.text, scores)
        if part.reason is not None:
            if part.reason not in _REASONS:
                raise AnswerError(f"finish_reason is {part.reason[:40]!r}")
            self._reason, self._matched = part.reason, part.matched

    def end(self, reason: int | None = None) -> Grown:
        """What the listener was not given; the whole text, where there is none."""
        calls, broken = _whole_calls(self._calls)
        count = self._events if self._usage is None or reason is not None else self._usage.token_count
        if reason is None and self.is_over:
            reason = FinishReason.LENGTH
        return Grown(
            "".join(self._parts) + broken,
            calls,
            count,
            self._finish_reason() if reason is None else reason,
            None if self._usage is None else self._usage.prompt_tokens,
            Scores(self._scores) if self._scores else NO_SCORES,
        )

    def _finish_reason(self) -> int:
        """OpenAI's "stop" is a stop string or the model's own end, unless the server tells which."""
        reason: int = _REASONS[self._reason or ""]
        stops = self._sampling.stop or self._sampling.stop_token_ids
        its_own = isinstance(self._matched, int) and self._matched not in self._sampling.stop_token_ids
        if reason == FinishReason.STOP and (not stops or its_own):
            reason = FinishReason.END_OF_TEXT
        return reason

    def _grow(self, text: str, scores: Scores) -> None:
        if self._listener is None:
            self._parts.append(text)
            self._scores += scores.generated or ()
            return
        try:
            self._listener(text, self._events, scores, [])
        except Exception:  # the caller's trouble is not ours
            log.exception("a part of a text could not be handed over")

    def _take_call(self, index: int, call_id: str | None, name: str | None, arguments: str) -> None:
        if index == len(self._calls) < MOST_TOOL_CALLS:
            self._calls.append([call_id, name, []])
        if not 0 <= index < len(self._calls):
            raise AnswerError(f"tool_calls has the index {index}, after {len(self._calls)} calls")
        call = self._calls[index]
        call[0], call[1] = call[0] or call_id, call[1] or name
        call[2].append(arguments)


def _whole_calls(calls: Sequence[Sequence[Any]]) -> tuple[list[ToolCall], str]:
    """Those that are whole, and the text of what is none: of one that max_tokens or the deadline cut, for instance."""
    whole: list[ToolCall] = []
    broken = ""
    for call_id, name, parts in calls:
        arguments = "".join(parts) or "{}"
        if name and _is_object(arguments):
            whole.append(ToolCall(call_id or f"call_{len(whole)}", name, arguments))
        else:
            broken += f'{{"name": {json.dumps(name)}, "arguments": {"".join(parts)}'
    return whole, broken


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _scores(tokens: Sequence[Any] | None, alternatives: int | None) -> Scores:
    if tokens is None or alternatives is None:
        return NO_SCORES
    return Scores(
        [
            TokenLogprob(one.id, one.text, one.data, one.logprob, [TopLogprob(*top) for top in one.top[:alternatives]])
            for one in tokens
        ]
    )
