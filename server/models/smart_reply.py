"""Google's Smart Reply, and models of the same graph: messages to replies with scores."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ext import _tflite_ops
from server.errors import ModelError
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.message_cost import MessageCost
from server.models.smart_reply_engine import SmartReplyInterpreter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.calls import Pending
    from server.config import Settings
    from server.models.requests import ReplyFilter, RequestContext


class SmartReplyModel(EngineModel):
    """An interpreter for each worker, behind one queue."""

    kind = "smart-reply"
    capabilities = (Capability.REPLY,)
    equal_lengths_only = False

    def __init__(self, native: _tflite_ops.SmartReplyEngine, cost: MessageCost) -> None:
        super().__init__(Engine(native, cost.max_tokens))
        self._cost = cost
        self.limits = cost.limits()
        self.details = {
            "input": "texts",
            "output": "replies",
            "device": "cpu",
            "projection": _tflite_ops.best_instructions().name.lower(),
        }

    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Reply -> score for all messages together, best first."""
        tokens = self._cost.tokens_of(messages)
        return self._engine.submit(messages, reply_filter.max_replies, reply_filter.threshold, tokens, context=context)


async def load(content: bytes, settings: Settings) -> SmartReplyModel:
    """Make and warm up the interpreters, off the event loop. Raises ModelError."""
    cost = MessageCost(settings)
    native = await asyncio.to_thread(_native_engine, content, settings, cost)
    return SmartReplyModel(native, cost)


def _native_engine(content: bytes, settings: Settings, cost: MessageCost) -> _tflite_ops.SmartReplyEngine:
    sessions = tuple(SmartReplyInterpreter(content).session for _ in range(settings.workers))
    try:
        return _tflite_ops.SmartReplyEngine(sessions, inline_us=settings.inline_us, **cost.queue_settings())
    except (ValueError, RuntimeError) as error:  # a setting out of range; a graph that fails on longer messages
        raise ModelError(str(error)) from None
