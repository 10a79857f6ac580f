"""Models of a server that speaks OpenAI's API: our queue, limits and deadlines before its answers."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from server.errors import ModelError, invalid_argument
from server.models.capabilities import Capability
from server.models.chat.conversation import size_of
from server.models.message_cost import MessageCost
from server.models.requests import ChatAnswer, Generated
from server.models.sampling import CONTRACT
from server.models.task_queue import TaskEngine, TaskQueue
from server.models.upstream.conversation import body_of
from server.models.upstream.generations import Generations, TextRequest
from server.models.upstream.readings import Pair, Readings, Text
from server.models.upstream.sampling import fields_of
from server.upstream import answers
from server.upstream.client import Client
from server.upstream.discovery import Discovery
from server.upstream.location import parse_location
from server.upstream.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from predictor.ttypes import ModelLimits

    from server.calls import Pending
    from server.config import Settings
    from server.models.chat.conversation import Conversation
    from server.models.options import ModelOptions
    from server.models.requests import Reading, RequestContext, Sampling, Scores
    from server.models.task_queue import Item
    from server.models.upstream.generations import Grown, Listener
    from server.upstream.discovery import Found

_CAPABILITIES = {
    "generate": Capability.GENERATE,
    "chat": Capability.CHAT,
    "embed": Capability.EMBED,
    "rerank": Capability.RERANK,
}


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
        self.capabilities = tuple(_CAPABILITIES[name] for name in found.serves)
        self.dimensions = found.vector_size
        self.normalized = found.normalized
        self._engines: list[TaskEngine] = []
        of_queue = self._cost.queue_settings()
        if {"generate", "chat"}.intersection(found.serves):
            generations = Generations(client, self._patience, settings.message_bytes)
            alone = of_queue | {"batch_items": 1, "bulk_items": 1, "max_delay_ms": 0, "keeps_work": True}
            self._generations = self._engine(generations.run, settings.upstream_calls, alone)
        if {"embed", "rerank"}.intersection(found.serves):
            readings = Readings(client, found, self._patience)
            self._readings = self._engine(readings.run, settings.upstream_calls, of_queue)
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
        if {"generate", "chat"}.intersection(self._found.serves):
            most = settings.max_output_tokens
            limits.max_output_tokens = most if self._found.context is None else min(most, self._found.context - 1)
        return limits

    # ------------------------------------------------------------------------------------------ vectors and scores

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """See Model.embed."""
        return self._readings.submit(Text(text, reading.truncate), self._cost.tokens_of([text]), context=context)

    def score_pair(
        self, query: str, text: str, truncate: bool, raw_scores: bool, context: RequestContext
    ) -> Pending[float]:
        """See Model.score_pair; the scores are those that the server gives."""
        payload = Pair(query, text, truncate)
        return self._readings.submit(payload, self._cost.tokens_of([query, text]), context=context)

    # ------------------------------------------------------------------------------------------------------- texts

    async def prompt_tokens(self, prompt: str, sampling: Sampling) -> Any:
        """The prompt itself: the upstream server has the tokenizer. Raises TOO_LARGE, INVALID_ARGUMENT."""
        self._cost.tokens_of([prompt])
        self._fields(sampling, chats=False)
        return prompt

    async def prompt_text(self, tokens: Any) -> str:
        """See Model.prompt_text: what prompt_tokens gave is the text."""
        return tokens  # type: ignore[no-any-return]

    async def formed(self, sampling: Sampling) -> Sampling:
        """See Model.formed: a form is the upstream server's matter, where that takes the option."""
        return sampling

    async def generate(
        self,
        tokens: Any,
        sampling: Sampling,
        context: RequestContext,
        on_text: Callable[[str, int, Scores], object] | None = None,
    ) -> Generated:
        """See Model.generate; `tokens` is what prompt_tokens gave."""
        request = TextRequest(
            f"{self._client.address.base}/completions",
            {"model": self._client.address.model, "prompt": tokens} | self._fields(sampling, chats=False),
            answers.completion,
            sampling,
            context.deadline_ns,
            None if on_text is None else lambda text, count, scores, _calls: on_text(text, count, scores),
        )
        done = await self._grown(request, self._cost.tokens_of([tokens]), context)
        return Generated(done.text, done.token_count, done.finish_reason, done.prompt_tokens, done.scores)

    async def chat_prompt(self, conversation: Conversation, context: RequestContext) -> Any:
        """The conversation as OpenAI's API has it: the upstream server has the template. Raises PredictionError."""
        cost = self._cost.tokens_in(size_of(conversation), "messages")
        return body_of(conversation, self._found.server), cost

    async def chat(
        self, prompt: Any, sampling: Sampling, context: RequestContext, on_part: Listener | None = None
    ) -> ChatAnswer:
        """See Model.chat."""
        body, cost = prompt
        request = TextRequest(
            f"{self._client.address.base}/chat/completions",
            {"model": self._client.address.model}
            | body
            | self._fields(sampling, chats=True)
            | self._found.server.always_in_chats,
            answers.message,
            sampling,
            context.deadline_ns,
            on_part,
        )
        return ChatAnswer(*await self._grown(request, cost, context))

    async def chat_text(self, conversation: Conversation, context: RequestContext) -> tuple[str, list[int]]:
        """Raises INVALID_ARGUMENT: the prompt is the upstream server's own matter."""
        raise invalid_argument(
            "the upstream server has the model's chat template, and does not show what it makes of a conversation"
        )

    def _fields(self, sampling: Sampling, *, chats: bool) -> dict[str, Any]:
        return fields_of(sampling, self._found.server, self._found.context, chats=chats)

    async def _grown(self, request: TextRequest, cost: int, context: RequestContext) -> Grown:
        return await self._generations.submit(request, cost, context=context)  # type: ignore[no-any-return]

    # --------------------------------------------------------------------------------------------------------- all

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


async def load(location: str, settings: Settings, options: ModelOptions) -> UpstreamModel:
    """Find the model on its server. Raises ModelError."""
    client = Client(
        parse_location(location),
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
