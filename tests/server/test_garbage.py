"""Requests leave nothing for the garbage collector, whose runs would stop the event loop for milliseconds."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

from ext import _batching
from server.calls import drive
from server.models.engine import Engine
from server.models.requests import RequestContext

if TYPE_CHECKING:
    from server.calls import Pending

REQUESTS = 1000


async def answer_one(engine: Engine, native: _batching.Queue) -> None:
    """A request's whole way through a driven coroutine and the queue."""
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    async def call() -> object:
        pending: Pending[object] = engine.submit(
            "text", 1, context=RequestContext(0, time.monotonic_ns() + 10**10, None)
        )
        return await pending

    drive(call(), lambda value, error: answered.set_result((value, error)))
    batch = native.try_take()
    assert batch is not None
    native.finish(batch[0], ["answer"])
    assert await answered == ("answer", None)


async def test_requests_make_no_reference_cycles() -> None:
    native = _batching.Queue()
    engine = Engine(native, max_tokens=10)
    await answer_one(engine, native)
    gc.collect()
    gc.disable()
    try:
        for _ in range(REQUESTS):
            await answer_one(engine, native)
        unreachable = gc.collect()
    finally:
        gc.enable()
    await engine.close()
    assert unreachable < REQUESTS / 10
