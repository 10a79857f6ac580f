"""Models of an upstream server that the tests start, and texts that they are asked for."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from server.config import Settings
from server.models import kinds
from server.models.requests import RequestContext, Sampling
from tests.server.waiting import result
from tests.support.upstream_server import UpstreamServer, upstream_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.models.upstream.model import UpstreamModel

USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
GREEDY = Sampling(3, 0, 0, 1, 1, (), 0)


def context(timeout_s: float = 60) -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + int(timeout_s * 1e9), None)


async def load(location: str, **settings: Any) -> UpstreamModel:
    model: UpstreamModel = await kinds.load(location, Settings(**{"upstream_start_s": 30} | settings))  # type: ignore[assignment]
    return model


@contextlib.asynccontextmanager
async def loaded(options: str = "", **settings: Any) -> AsyncIterator[tuple[UpstreamServer, UpstreamModel]]:
    about = {name: settings.pop(name) for name in ("owned_by", "context", "serves") if name in settings}
    async with upstream_server(**about) as server:
        model = await load(server.location + options, **settings)
        server.bodies.clear()
        try:
            yield server, model
        finally:
            server.go_on.set()
            await model.close()


async def generated(model: UpstreamModel, prompt: str = "a b", on_text: Any = None, **changes: Any) -> Any:
    sampling = GREEDY._replace(**{name: value for name, value in changes.items() if name in Sampling._fields})
    tokens = await model.prompt_tokens(prompt, sampling)
    return await result(model.generate(tokens, sampling, context(changes.get("timeout_s", 60)), on_text))
