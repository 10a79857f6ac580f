"""Models of a server that speaks OpenAI's API: our queue, limits and deadlines before its answers.

Texts to be embedded or ranked are gathered into one call, as into a batch; a call that is refused is halved until the
text is found. A generated text is a call of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from predictor.ttypes import FinishReason, ModelLimits

from server.errors import ModelError, PredictionError, invalid_argument
from server.models.capabilities import Capability
from server.models.message_cost import MessageCost
from server.models.requests import NO_SCORES, Generated, Sampling
from server.models.sampling import CONTRACT, FIELD
from server.models.task_queue import TaskEngine, TaskQueue
from server.upstream import answers
from server.upstream.client import Client
from server.upstream.discovery import Discovery
from server.upstream.errors import AnswerError, RefusedError, UnavailableError, UpstreamError
from server.upstream.location import parse_location
from server.upstream.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.calls import Pending
    from server.config import Settings
    from server.models.options import ModelOptions
    from server.models.requests import Reading, RequestContext, Scores
    from server.models.task_queue import Item
    from server.upstream.answers import Part
    from server.upstream.discovery import Found

    Listener = Callable[[str, int, Scores], object]

log = structlog.get_logger()

_CAPABILITIES = {"generate": Capability.GENERATE, "embed": Capability.EMBED, "rerank": Capability.RERANK}
_REASONS = {
    "length": FinishReason.LENGTH,
    "stop": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,  # as text-generation-inference has it
    "eos_token": FinishReason.END_OF_TEXT,
}
_PENALTY_WINDOW = 8192  # llama.cpp takes memory for each
_NEUTRAL = {"top_k": 0, "repetition_penalty": 1.0, **Sampling._field_defaults}
del _NEUTRAL["clamp_max_tokens"]


class Text(NamedTuple):
    """A text whose vector is asked for."""

    text: str
    truncate: bool


class Pair(NamedTuple):
    """A text whose rank for a query is asked for."""

    query: str
    text: str
    truncate: bool


class Prompt(NamedTuple):
    """A text to be continued."""

    body: dict[str, Any]
    sampling: Sampling
    on_text: Listener | None


class UpstreamModel:
    """A model of another server, with a queue for texts that are read and one for texts that are generated."""

    kind = "upstream"
    equal_lengths_only = False
    takes: frozenset[str] = frozenset()
    sampling_defaults = CONTRACT

    def __init__(self, client: Client, found: Found, settings: Settings) -> None:
        """Raises ModelError."""
        self._client = client
        self._found = found
        self._cost = MessageCost(settings)
        self._patience = Patience(settings.upstream_retry_ms / 1000)
        self._max_text_bytes = settings.message_bytes
        self.capabilities = tuple(_CAPABILITIES[name] for name in found.serves)
        self.dimensions = found.vector_size
        self.normalized = found.normalized
        of_queue = self._cost.queue_settings()
        alone = of_queue | {"batch_items": 1, "bulk_items": 1, "max_delay_ms": 0}
        self._engines: list[TaskEngine] = []
        if "generate" in found.serves:
            self._generations = self._engine(self._generate, settings.upstream_calls, alone)
        if {"embed", "rerank"}.intersection(found.serves):
            self._readings = self._engine(self._read, settings.upstream_calls, of_queue)
        self.limits = self._limits(settings)
        self.details = {
            "server": found.server.name,
            "address": client.address.server,
            "upstream_model": client.address.model,
        }
        if found.context is not None:
            self.details["context"] = str(found.context)
        if found.vector_size:
            self.details["dimensions"] = str(found.vector_size)

    def _engine(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Any]]], calls: int, of_queue: dict[str, Any]
    ) -> TaskEngine:
        queue = TaskQueue(run, calls, **of_queue)
        engine = TaskEngine(queue, self._cost.max_tokens)  # type: ignore[arg-type] # it has what an Engine asks for
        self._engines.append(engine)
        return engine

    def _limits(self, settings: Settings) -> ModelLimits:
        limits = self._cost.limits()
        if "generate" in self._found.serves:
            most = settings.max_output_tokens
            limits.max_output_tokens = most if self._found.context is None else min(most, self._found.context - 1)
        return limits

    # ------------------------------------------------------------------------------------------------- requests

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """See Model.embed."""
        return self._readings.submit(Text(text, reading.truncate), self._cost.tokens_of([text]), context=context)

    def score_pair(
        self, query: str, text: str, truncate: bool, raw_scores: bool, context: RequestContext
    ) -> Pending[float]:
        """See Model.score_pair; the scores are those that the server gives."""
        payload = Pair(query, text, truncate)
        return self._readings.submit(payload, self._cost.tokens_of([query, text]), context=context)

    async def prompt_tokens(self, prompt: str, sampling: Sampling) -> Any:
        """The prompt itself: the upstream server has the tokenizer. Raises TOO_LARGE."""
        self._cost.tokens_of([prompt])
        return prompt

    async def generate(
        self, tokens: Any, sampling: Sampling, context: RequestContext, on_text: Listener | None = None
    ) -> Generated:
        """See Model.generate; `tokens` is what prompt_tokens gave."""
        body = {"model": self._client.address.model, "prompt": tokens} | self._sampled(sampling)
        payload = Prompt(body, sampling, on_text)
        return await self._generations.submit(payload, self._cost.tokens_of([tokens]), context=context)  # type: ignore[no-any-return]

    def _sampled(self, sampling: Sampling) -> dict[str, Any]:
        """The fields that say how a text is generated. Raises INVALID_ARGUMENT for what the server cannot be told."""
        server = self._found.server
        fields: dict[str, Any] = dict(server.always)
        fields |= {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            fields["seed"] = sampling.seed % server.seeds
        if sampling.top_p != 1:
            fields["top_p"] = sampling.top_p
        if sampling.stop:
            fields["stop"] = list(sampling.stop)
            if server.max_stops is not None and len(sampling.stop) > server.max_stops:
                raise invalid_argument(
                    f"must have at most {server.max_stops} items for {server.shown}, got {len(sampling.stop)}",
                    field=f"{FIELD}.stop",
                )
        for name, neutral in _NEUTRAL.items():
            if (value := getattr(sampling, name)) != neutral:
                fields[self._field_of(name)] = value
        if server.window is not None and sampling.repetition_penalty != 1:
            fields[server.window] = self._found.context or _PENALTY_WINDOW
        return fields

    def _field_of(self, option: str) -> str:
        name = self._found.server.fields.get(option)
        if name is None:
            raise invalid_argument(
                f"the upstream server does not take this option ({self._found.server.shown};"
                " the option server of the model's location says what it is)",
                field=f"{FIELD}.{option}",
            )
        return name

    # ---------------------------------------------------------------------------------------------------- calls

    async def _read(self, items: Sequence[Item]) -> list[Any]:
        """Vectors or scores of a batch: those that one call can ask for, together."""
        groups: dict[Any, list[int]] = {}
        for place, item in enumerate(items):
            payload = item.payload
            key = (payload.query, payload.truncate) if type(payload) is Pair else payload.truncate
            groups.setdefault(key, []).append(place)
        outcomes: list[Any] = [None] * len(items)
        for places in groups.values():
            for place, outcome in zip(places, await self._part([items[place] for place in places]), strict=True):
                outcomes[place] = outcome
        return outcomes

    async def _part(self, items: list[Item]) -> list[Any]:
        ask = self._scores if type(items[0].payload) is Pair else self._vectors
        try:
            return await self._patience.call(lambda: ask(items))
        except (RefusedError, AnswerError) as error:
            if len(items) == 1 or (isinstance(error, RefusedError) and error.status == 404):
                return [self._failure(error)] * len(items)
        except UpstreamError as error:
            return [self._failure(error)] * len(items)
        half = len(items) // 2
        return await self._part(items[:half]) + await self._part(items[half:])

    async def _vectors(self, items: list[Item]) -> list[Any]:
        texts = [item.payload.text for item in items]
        body = {"model": self._client.address.model, "input": texts, "encoding_format": self._found.encoding}
        body |= self._found.server.embed_fields.get(items[0].payload.truncate, {})
        answer = await self._client.post(f"{self._client.address.base}/embeddings", body)
        rows, tokens = answers.vectors(answer, len(texts), self._found.vector_size)
        if len(items) == 1:
            items[0].request.tokens = tokens
        return rows

    async def _scores(self, items: list[Item]) -> list[Any]:
        texts = [item.payload.text for item in items]
        body = {"model": self._client.address.model, "query": items[0].payload.query, self._found.rerank_texts: texts}
        body |= self._found.server.embed_fields.get(items[0].payload.truncate, {})
        return list(answers.scores(await self._client.post(self._found.rerank_path, body), len(texts)))

    async def _generate(self, items: Sequence[Item]) -> list[Any]:
        prompt: Prompt = items[0].payload
        path = f"{self._client.address.base}/completions"
        try:
            if prompt.on_text is None:
                part = await self._patience.call(lambda: self._whole(path, prompt))
                return [self._generated(part, prompt.sampling)]
            stream = _Streamed(prompt.on_text, self._max_text_bytes)
            await self._patience.call(lambda: self._streamed(path, prompt, stream), lambda: not stream.begun)
            return [self._generated(stream.end(), prompt.sampling)._replace(text="")]
        except UpstreamError as error:
            return [self._failure(error)]

    async def _whole(self, path: str, prompt: Prompt) -> Part:
        part = answers.completion(await self._client.post(path, prompt.body))
        if part.reason is None or part.usage is None:
            raise AnswerError("a text without finish_reason or usage came")
        return part

    async def _streamed(self, path: str, prompt: Prompt, stream: _Streamed) -> None:
        body = prompt.body | {"stream": True, "stream_options": {"include_usage": True}}
        async with contextlib.aclosing(self._client.stream(path, body)) as events:
            async for event in events:
                stream.take(answers.completion(event))
        if not stream.ended:
            raise UnavailableError("the text was cut off")

    def _generated(self, part: Part, sampling: Sampling) -> Generated:
        usage = part.usage or answers.Usage(0, 0)
        return Generated(part.text, usage.token_count, _finish_reason(part, sampling), usage.prompt_tokens)

    def _failure(self, error: UpstreamError) -> Exception:
        """For the queue: what callers are told, or, of the server's own faults, what only the log is."""
        text = f"the upstream server at {self._client.address.server}: {error}"
        if isinstance(error, AnswerError):
            return RuntimeError(text)
        found = error.prediction_error()
        failure: Exception = PredictionError(found.code, text, found.retry_after_ms)
        return failure

    # ------------------------------------------------------------------------------------------------------ all

    def stats(self) -> dict[str, int]:
        """The queues' counters together."""
        total: Counter[str] = Counter()
        for engine in self._engines:
            total.update(engine.stats())
        return dict(total)

    def drain(self) -> None:
        """Refuse new requests."""
        for engine in self._engines:
            engine.drain()

    async def close(self) -> None:
        """Answer what was accepted, then let go of the connections."""
        await asyncio.gather(*(engine.close() for engine in self._engines))
        await self._client.close()


class _Streamed:
    """A text that grows, handed on as it does."""

    def __init__(self, on_text: Listener, most_bytes: int) -> None:
        self._on_text = on_text
        self._room = most_bytes
        self._tokens = 0
        self._usage: answers.Usage | None = None
        self._reason: str | None = None
        self._matched: str | int | None = None
        self.begun = False

    @property
    def ended(self) -> bool:
        """Whether the server has said why the text ends."""
        return self._reason is not None

    def take(self, part: Part) -> None:
        """An event. Raises AnswerError."""
        self._usage = part.usage or self._usage
        if part.text:
            if self.ended:
                raise AnswerError("a text goes on after its end")
            self._room -= len(part.text)
            if self._room < 0:
                raise AnswerError("a text is longer than message_bytes")
            self._tokens += 1  # about: an event may have several
            self.begun = True
            self._tell(part.text)
        if part.reason is not None:
            self._reason, self._matched = part.reason, part.matched

    def end(self) -> Part:
        """The last part."""
        return answers.Part("", self._reason, self._matched, self._usage or answers.Usage(0, self._tokens))

    def _tell(self, text: str) -> None:
        try:
            self._on_text(text, self._tokens, NO_SCORES)
        except Exception:  # the caller's trouble is not ours
            log.exception("a part of a text could not be handed over")


def _finish_reason(part: Part, sampling: Sampling) -> int:
    """Raises AnswerError. OpenAI's "stop" is a stop string or the model's own end, unless the server tells which."""
    reason: int | None = _REASONS.get(part.reason or "")
    if reason is None:
        raise AnswerError(f"finish_reason is {part.reason[:40]!r}" if part.reason else "there is no finish_reason")
    if reason == FinishReason.STOP and (not sampling.stop or type(part.matched) is int):
        reason = FinishReason.END_OF_TEXT
    return reason


async def load(location: str, settings: Settings, options: ModelOptions) -> UpstreamModel:
    """Find the model on its server. Raises ModelError."""
    address = parse_location(location)
    client = Client(
        address,
        connections=2 * settings.upstream_calls,
        max_bytes=settings.message_bytes,
        key=_key(settings),
    )
    try:
        found = await Discovery(client, options.server, options.serves, settings.upstream_start_s).found()
        return UpstreamModel(client, found, settings)
    except BaseException:
        await client.close()
        raise


def _key(settings: Settings) -> str | None:
    """The key in the environment variable that the setting names for this model. Raises ModelError."""
    if not settings.upstream_keys:
        return None
    variable = settings.upstream_keys[-1].partition("=")[2]
    key = os.environ.get(variable, "")
    if not key or not key.isascii() or not key.isprintable():
        problem = "is not set" if not key else "has letters that no key has"
        raise ModelError(f"the environment variable {variable} {problem} (setting upstream_keys)")
    return key
