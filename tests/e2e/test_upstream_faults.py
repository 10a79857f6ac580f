"""A hostile upstream server can neither crash, hang nor fill the server in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from predictor.ttypes import ChatMessage, ErrorCode, GenerationOptions, PredictionError, RequestOptions

from tests.support.service import Service, eventually
from tests.support.upstream_server import (
    UpstreamServer,
    begin_events,
    chat_event,
    completion,
    giving,
    saying,
    sending,
    sending_events,
    streaming,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_MS = 1500
_MOST_GROWTH = 96 << 20
_EVENT = 'data: {"choices": [{"index": 0, "text": "a", "delta": {"content": "a"}}]}\n\n'


async def endless_comments(request: web.Request, _body: Any) -> web.StreamResponse:
    response = await begin_events(request)
    while True:
        await response.write(b": ping\n" * 10_000)


async def endless_line(request: web.Request, _body: Any) -> web.StreamResponse:
    response = await begin_events(request)
    while True:
        await response.write(b"a" * 100_000)


async def endless_text(request: web.Request, _body: Any) -> web.StreamResponse:
    response = await begin_events(request)
    while True:
        await response.write(_EVENT.encode() * 1000)


async def endless_answer(request: web.Request, _body: Any) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b"[" * 100_000)


async def silence(_request: web.Request, _body: Any) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def trickle(request: web.Request, _body: Any) -> web.StreamResponse:
    response = await begin_events(request)
    while True:
        await response.write(b"d")
        await asyncio.sleep(0.05)


FAULTS = {
    "endless comments": endless_comments,
    "an endless line": endless_line,
    "an endless text": endless_text,
    "an endless answer": endless_answer,
    "silence": silence,
    "a trickle": trickle,
    "no HTTP": sending(b"\x00" * 100_000),
    "a head without an end": sending(b"HTTP/1.1 200 OK\r\nX: ", cut=False),
    "a cut": sending(b""),
    "no JSON": giving("{" * 100_000),
    "deep JSON": giving("[" * 100_000 + "]" * 100_000),
    "wrong types": sending_events({"choices": [{"text": 1, "delta": 1}]}),
    "no end": streaming(_EVENT, _EVENT),
    "a cut text": streaming(_EVENT, cut=True),
    "an unknown end": sending_events(completion("a", "why"), chat_event("a", "why")),
    "busy": saying(429, "later", Retry_After="0"),
    "a fault": saying(500, "a" * 100_000),
    "elsewhere": saying(307, "elsewhere", Location="http://169.254.169.254/"),
    "no access": saying(403, "no"),
}


class Upstream:
    """A server with a loop and a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.server: UpstreamServer

    def __enter__(self) -> UpstreamServer:
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(60)
        return self.server

    async def _start(self) -> UpstreamServer:
        server = UpstreamServer()
        await server.start()
        return server

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamServer]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def front(upstream: UpstreamServer) -> Iterator[Service]:
    with Service(upstream.location, "--http=off", "--upstream-retry-ms=200") as service:
        yield service


def ask_all(service: Service) -> list[PredictionError | None]:
    """Every method once on a connection: the error that each gets, or None."""
    options = RequestOptions(timeout_ms=_TIMEOUT_MS)
    how = GenerationOptions(max_tokens=5, temperature=0)
    said = [ChatMessage("user", "a")]
    found: list[PredictionError | None] = []
    with service.client(timeout_s=60) as client:
        for call in (
            lambda: client.generate("a", how, options),
            lambda: client.chat(said, how, options, None),
            lambda: read(client, client.generate_begin("a", how, options)),
            lambda: read(client, client.chat_begin(said, how, options, None)),
            lambda: client.embed_batch(["a", "b"], options, None),
            lambda: client.rerank("a", ["b", "c"], options, None),
        ):
            try:
                call()
            except PredictionError as error:
                found.append(error)
            else:
                found.append(None)
    return found


def read(client: Any, stream_id: str) -> None:
    while client.generate_next(stream_id, 10_000).finish_reason is None:
        pass


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_is_answered_and_memory_is_bounded(front: Service, upstream: UpstreamServer, fault: str) -> None:
    upstream.answer = None
    assert ask_all(front) == [None] * 6
    before = front.rss_bytes()
    upstream.answer = FAULTS[fault]
    try:
        with ThreadPoolExecutor(4) as clients:
            asked = [clients.submit(ask_all, front) for _ in range(4)]
            errors = [error for each in asked for error in each.result() if error is not None]
    finally:
        upstream.answer = None
    assert errors
    assert {error.code for error in errors} <= {
        ErrorCode.INTERNAL,
        ErrorCode.UNAVAILABLE,
        ErrorCode.DEADLINE_EXCEEDED,
        ErrorCode.OVERLOADED,
    }
    assert front.rss_bytes() - before < _MOST_GROWTH
    eventually(lambda: front.model_status().running == 0, "no call is left")
    with contextlib.suppress(AssertionError):  # after 429 nobody asks for a moment
        eventually(lambda: ask_all(front) == [None] * 6, timeout_s=5)
    assert ask_all(front) == [None] * 6
