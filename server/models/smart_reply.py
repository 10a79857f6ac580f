"""Google's Smart Reply, and models of the same graph: messages to replies with scores."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from ext import _smart_reply
from server.errors import ModelError, too_large
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.message_cost import BYTES_OF_TOKEN, MessageCost
from server.models.smart_reply_engine import read_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.calls import Pending
    from server.config import Settings
    from server.models.requests import ReplyFilter, RequestContext


_ENDS = re.compile(r"[?.!,]\s|\t")
"""Where ext/smart_reply/text.h cuts a message."""


class SmartReplyModel(EngineModel):
    """One model, which all workers share, behind a queue."""

    kind = "smart-reply"
    capabilities = (Capability.REPLY,)
    equal_lengths_only = False

    def __init__(self, native: _smart_reply.SmartReplyEngine, cost: MessageCost, max_sentences: int) -> None:
        super().__init__(Engine(native, cost.max_tokens))
        self._cost = cost
        self._max_sentences = max_sentences
        self.limits = cost.limits()
        self.details = {
            "input": "texts",
            "output": "replies",
            "device": "cpu",
            "projection": _smart_reply.best_instructions().name.lower(),
        }

    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Reply -> score for all messages together, best first."""
        tokens = self._cost.tokens_of(messages)
        if tokens * BYTES_OF_TOKEN > self._max_sentences:  # a shorter one cannot have so many
            self._check_sentences(messages)
        return self._engine.submit(messages, reply_filter.max_replies, reply_filter.threshold, tokens, context=context)

    def _check_sentences(self, messages: Sequence[str]) -> None:
        """Raise TOO_LARGE where there are too many: the work is in them, and not in the bytes."""
        sentences = sum(1 + len(_ENDS.findall(message)) for message in messages)
        if sentences > self._max_sentences:
            what = f"{sentences} sentences, over the limit of {self._max_sentences}"
            raise too_large(what, setting="max_sentences")


async def load(file: _smart_reply.ModelFile, settings: Settings) -> SmartReplyModel:
    """Read the graph and warm it up, off the event loop. Raises ModelError."""
    cost = MessageCost(settings)
    native = await asyncio.to_thread(_native_engine, file, settings, cost)
    return SmartReplyModel(native, cost, settings.max_sentences)


def _native_engine(
    file: _smart_reply.ModelFile, settings: Settings, cost: MessageCost
) -> _smart_reply.SmartReplyEngine:
    model = read_graph(file)
    try:
        return _smart_reply.SmartReplyEngine(
            model, workers=settings.workers, inline_us=settings.inline_us, **cost.queue_settings()
        )
    except (ValueError, RuntimeError) as error:  # a setting out of range; no threads
        raise ModelError(str(error)) from None
