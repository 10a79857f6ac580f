"""What a trial does with a model: it must be there, and answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from server.calls import drive
from server.errors import ModelError, PredictionError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.requests import AS_IT_IS, ITS_OWN_SCORES, ReplyFilter, RequestContext, Tagging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.config import Settings

_TEXT = "Hello, what is this text about?"
_SECONDS = 3600  # less ends it

_QUESTIONS: dict[Capability, Callable[[Any, RequestContext], Awaitable[Any]]] = {
    Capability.CLASSIFY: lambda model, context: model.predict(_TEXT, ITS_OWN_SCORES, context),
    Capability.REPLY: lambda model, context: model.reply((_TEXT,), ReplyFilter(), context),
    Capability.EMBED: lambda model, context: model.embed(_TEXT, AS_IT_IS, context),
    Capability.RERANK: lambda model, context: model.score_pair(_TEXT, _TEXT, True, False, context),
    Capability.CLASSIFY_TOKENS: lambda model, context: model.classify_tokens(_TEXT, Tagging(), context),
    Capability.EMBED_SPARSE: lambda model, context: model.embed_sparse(_TEXT, AS_IT_IS, context),
    Capability.EMBED_TOKENS: lambda model, context: model.embed_tokens(_TEXT, AS_IT_IS, context),
}


async def tried(location: str, settings: Settings) -> bool:
    """Whether the whole model was loaded, and has answered; False: it is data. Raises ModelError, OSError."""
    model = await kinds.load_for_trial(location, settings)
    if model is None:
        return False
    deadline_ns = time.monotonic_ns() + _SECONDS * 10**9
    for capability in model.capabilities:
        ask = _QUESTIONS.get(capability)
        if ask is not None:
            try:
                await _answer(ask(model, RequestContext(0, deadline_ns, None)))
            except PredictionError as error:
                raise ModelError(f"it does not answer a sample: {error.message}") from None
    return True


async def _answer(pending: Awaitable[Any]) -> None:
    """In a task: what models give is awaited by the transport's driver."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def call() -> None:
        await pending

    drive(call(), lambda _, error: future.set_result(None) if error is None else future.set_exception(error))
    await future
