"""What becomes of requests when an upstream server is busy, cut off, away or slow; what is bounded."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from server.errors import ErrorCode
from server.models.requests import AS_IT_IS
from tests.server.models.upstream.loading import context, generated, load, loaded
from tests.server.waiting import error_of, result
from tests.support.upstream_server import saying, sending, streaming, upstream_server

if TYPE_CHECKING:
    from aiohttp import web


async def test_a_busy_server_says_when_to_come_again() -> None:
    async with loaded() as (server, model):
        server.answer = saying(429, "slowly", Retry_After="0.2")
        error = await error_of(generated(model))
        assert (error.code, error.retry_after_ms) == (ErrorCode.OVERLOADED, 200)
        asked = len(server.bodies)
        error = await error_of(generated(model))  # nobody asks meanwhile
        assert error.code == ErrorCode.OVERLOADED
        assert 0 < (error.retry_after_ms or 0) <= 201
        assert len(server.bodies) == asked
        server.answer = None
        await asyncio.sleep(0.25)
        assert (await generated(model)).text == " 2 3 4"


async def test_calls_are_made_again_where_nothing_has_come() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        tries.append(body)
        if len(tries) < 3:
            return await sending(b"HTTP/1.1 200 OK\r\n")(request, body)
        return await server.behave(request, body)

    async with loaded() as (server, model):
        server.answer = answer
        for on_text in (None, lambda *_: None):
            tries: list[Any] = []
            assert (await generated(model, on_text=on_text)).token_count == 3
            assert len(tries) == 3


async def test_connections_that_the_server_has_just_closed_are_no_failures() -> None:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        port = request.transport.get_extra_info("peername")[1]  # type: ignore[union-attr]
        if port in ports:
            return await sending(b"")(request, body)
        ports.add(port)
        return await server.behave(request, body)

    ports: set[int] = set()
    async with loaded(upstream_retry_ms=0) as (server, model):
        server.answer = answer
        for _ in range(5):
            assert (await generated(model)).token_count == 3
            assert await result(model.embed("a", AS_IT_IS, context()))


async def test_a_stream_that_is_cut_is_not_made_again() -> None:
    async with loaded() as (server, model):
        parts: list[str] = []
        server.answer = streaming('data: {"choices": [{"text": "a"}]}\n\n', cut=True)
        error = await error_of(generated(model, on_text=lambda text, *_: parts.append(text)))
        assert error.code == ErrorCode.UNAVAILABLE
        assert error.retry_after_ms == 1000
        assert parts == ["a"]
        assert len(server.bodies) == 1


async def test_a_server_that_goes_away_and_comes_back() -> None:
    async with loaded(upstream_retry_ms=100) as (server, model):
        port = server.port
        await server.stop()
        error = await error_of(generated(model))
        assert error.code == ErrorCode.UNAVAILABLE
        assert error.retry_after_ms == 1000
        begin = time.monotonic()
        assert (await error_of(generated(model))).code == ErrorCode.UNAVAILABLE  # at once: it has been tried
        assert time.monotonic() - begin < 5
        await server.start(port)
        assert (await generated(model)).text == " 2 3 4"
        model._patience._retry_s = 60
        await server.stop()
        waiting = asyncio.create_task(generated(model))
        await asyncio.sleep(0.1)
        await server.start(port)
        assert (await waiting).text == " 2 3 4"


async def test_cancelling_and_deadlines_end_the_servers_work() -> None:
    async with loaded() as (server, model):
        server.go_on.clear()
        begun = server.begun
        requests = [model.embed("a", AS_IT_IS, context()), model.score_pair("a", "b", True, False, context())]
        await server.until(lambda: server.begun > begun)
        for request in requests:
            request.abandon()
        await server.until(lambda: server.ended == server.begun)
        begun = server.begun
        error = await error_of(generated(model, timeout_s=0.1))
        assert error.code == ErrorCode.DEADLINE_EXCEEDED
        assert server.begun == begun + 1
        await server.until(lambda: server.ended == server.begun)
        assert model.stats()["expired"] == 1
        assert model.stats()["cancelled"] == 2


async def test_calls_and_queue_are_bounded() -> None:
    async with loaded(upstream_calls=2, queue_items=3) as (server, model):
        server.go_on.clear()
        server.most = 0
        waiting = []
        for _ in range(5):
            waiting.append(asyncio.create_task(generated(model)))
            await asyncio.sleep(0.01)
        await server.until(lambda: server.begun - server.ended == 2)
        error = await error_of(generated(model))
        assert (error.code, error.setting) == (ErrorCode.OVERLOADED, "queue_items")
        assert model.stats()["running"] == 2
        assert model.stats()["waiting"] == 3
        server.go_on.set()
        assert [done.text for done in await asyncio.gather(*waiting)] == [" 2 3 4"] * 5
        assert server.most == 2


async def test_closing_answers_what_was_accepted() -> None:
    async with upstream_server() as server:
        model = await load(server.location)
        server.go_on.clear()
        waiting = asyncio.create_task(generated(model))
        begun = server.begun
        await server.until(lambda: server.begun > begun)
        closing = asyncio.create_task(model.close())
        await asyncio.sleep(0.05)
        server.go_on.set()
        assert (await waiting).text == " 2 3 4"
        await closing
        assert (await error_of(generated(model))).code == ErrorCode.UNAVAILABLE
