"""Requests that are one call about one text, as most are: from their bytes to the answer's without a coroutine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from rest_proxy.http.errors import explain
from rest_proxy.http.fast.request import SmallRequest, address_of
from rest_proxy.http.responses import REQUEST_ID, Whole
from rest_proxy.http.server.compression import compressed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Mapping

    from aiohttp import web

    from process.security.access import Visit
    from rest_proxy.http.fast.heads import Head
    from rest_proxy.http.route import Direct, Route


class Running(Protocol):
    """What is in progress."""

    def cancel(self) -> object:
        """Its client is gone."""


Run: TypeAlias = "Callable[[Coroutine[Any, Any, Any], Callable[[Any, BaseException | None], object]], Running]"
"""See Pool.run."""


class Client(Protocol):
    """A connection that waits for an answer."""

    transport: asyncio.Transport | None
    last_visit: tuple[Head, Visit] | None
    """That of the last request that went the short way, and its head."""

    def answered(self, response: Any, error: BaseException | None) -> None:
        """Here is the response, or what keeps it from being made."""

    def answered_directly(self, headers: Mapping[str, str], request_id: str, body: bytes) -> None:
        """Here is what AnswerWriter.direct_bytes takes."""


class Owner(Protocol):
    """What requests of an application share."""

    in_progress: int
    compress_bytes: int

    run: Run

    def admit(self, route: Route, request: Any, visit: Visit | None) -> None:
        """Let a request begin, by its headers, its transport, and whose it is. Raises HttpError."""

    def note(self, route: Route, status: int, started: float, request: Any, request_id: str) -> None:
        """Count and log what has ended."""


class DirectRequest:
    """One in progress, of the application `owner`."""

    __slots__ = (
        "_body",
        "_client",
        "_direct",
        "_owner",
        "_running",
        "_started",
        "_visit",
        "rel_url",
        "request_id",
        "transport",
    )

    _direct: Direct

    def __init__(
        self, owner: Owner, head: Head, body: bytes, client: Client, request_id: str, visit: Visit | None
    ) -> None:
        """`visit`: whose request it is, where that counts."""
        self._owner = owner
        self._visit = visit
        self._body = body
        self._client: Client | None = client
        self._running: Running | None = None
        self._started = time.perf_counter()
        self.rel_url = head
        self.request_id = request_id
        self.transport = client.transport

    def begin(self, direct: Direct, text: str) -> None:
        """Make the call about `text`."""
        self._direct = direct
        owner = self._owner
        owner.in_progress += 1
        try:
            owner.admit(self.rel_url.route, self, self._visit)
            running = direct.begin(text, self.request_id, self._called, self._visit)
        except Exception as error:
            self._called(None, error)
        else:
            if self._client is not None:
                self._running = running

    def cancel(self) -> None:
        """Its client is gone."""
        if self._client is not None:
            running, self._client, self._running = self._running, None, None
            self._end(499)
            if running is not None:
                running.cancel()

    @property
    def headers(self) -> Mapping[str, str]:
        """As aiohttp's requests have them, like the next two."""
        return self.rel_url.block.headers

    @property
    def method(self) -> str:
        """The method."""
        return self.rel_url.method

    @property
    def remote(self) -> str | None:
        """The client's address."""
        return address_of(self.transport)

    def _called(self, value: Any, error: BaseException | None) -> None:
        """The call has come to its end."""
        client = self._client
        if client is None:  # which is gone
            return
        if error is not None:
            self._fail(error)
            return
        direct, owner = self._direct, self._owner
        try:
            body = direct.write(value)
        except Exception as fault:
            self._fail(fault)
            return
        if len(body) < owner.compress_bytes:
            self._client = self._running = None
            owner.in_progress -= 1
            owner.note(self.rel_url.route, 200, self._started, self, self.request_id)
            client.answered_directly(direct.headers, self.request_id, body)
        else:
            content_type, *others = direct.headers.items()
            self._compress(Whole(body, dict([content_type, (REQUEST_ID, self.request_id), *others])))

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, Exception) or isinstance(error, ConnectionError):  # as when it is cancelled
            self._answered(None, error)
            return
        head = self.rel_url
        route: Route = head.route
        request = cast("web.BaseRequest", SmallRequest(head, self._body, cast("asyncio.Transport", self.transport)))
        try:
            failure = explain(error, head.raw_path, self.request_id, route.call_fields)
            answer = route.error_format.respond(failure, request, self.request_id)
        except Exception as fault:  # the connection is closed then
            self._answered(None, fault)
            return
        if isinstance(answer, Whole) and len(answer.plain_body) >= self._owner.compress_bytes:
            self._compress(answer)
        else:
            self._answered(answer, None)

    def _compress(self, answer: Whole) -> None:
        running = self._owner.run(compressed(answer, self.rel_url.headers), self._answered)
        if self._client is not None:
            self._running = running

    def _answered(self, response: Any, error: BaseException | None) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._end(499 if response is None else response.status)
            client.answered(response, error)

    def _end(self, status: int) -> None:
        self._running = None
        self._owner.in_progress -= 1
        self._owner.note(self.rel_url.route, status, self._started, self, self.request_id)
