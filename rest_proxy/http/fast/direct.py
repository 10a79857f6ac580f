"""Requests that are one call about one text, as most are: from their bytes to the answer's without a coroutine."""

from __future__ import annotations

from time import monotonic_ns
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
    from rest_proxy.http.route import Calls, Route


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

    def note(self, route: Route, status: int, seconds: float, request: Any, request_id: str) -> None:
        """Count and log what has ended."""


class DirectRequest:
    """One in progress, of the application `owner`.

    What makes its call tells it the outcome, and what to cancel until then.
    """

    __slots__ = ("_body", "_owner", "began_ns", "calls", "client", "rel_url", "request_id", "running", "transport")

    client: Client | None
    """Who waits; None when it has ended."""
    running: Running | None

    def begin(
        self, owner: Owner, head: Head, body: bytes, client: Client, request_id: str, text: str, visit: Visit | None
    ) -> None:
        """Begin it with the call about `text`, once. `visit`: whose it is, where that counts.

        There is no `__init__`: to make it and then begin it would cost a tenth of a microsecond more.
        """
        self._owner = owner
        self._body = body
        self.began_ns = monotonic_ns()
        self.calls: Calls = head.direct.calls
        self.client = client
        self.rel_url = head
        self.request_id = request_id
        self.running = None
        self.transport = client.transport
        owner.in_progress += 1
        try:
            owner.admit(head.route, self, visit)
            self.calls.begin(text, self, visit)
        except Exception as error:
            self.done(None, error)

    def cancel(self) -> None:
        """Its client is gone."""
        if self.client is not None:
            running = self.running
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

    def done(self, value: Any, error: BaseException | None) -> None:
        """The call has come to its end."""
        if error is None:
            self.answer(value)
        elif self.client is not None:
            self._fail(error)

    def answer(self, value: Any) -> None:
        """The call has this result."""
        client = self.client
        if client is None:  # which is gone
            return
        direct = self.rel_url.direct
        try:
            body = direct.write(value)
        except Exception as fault:
            self._fail(fault)
            return
        if len(body) < self._owner.compress_bytes:
            self._end(200)
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
        if self.client is not None:
            self.running = running

    def _answered(self, response: Any, error: BaseException | None) -> None:
        client = self.client
        if client is not None:
            self._end(499 if response is None else response.status)
            client.answered(response, error)

    def _end(self, status: int) -> None:
        self.client = self.running = None
        owner, seconds = self._owner, (monotonic_ns() - self.began_ns) / 1e9
        owner.in_progress -= 1
        owner.note(self.rel_url.route, status, seconds, self, self.request_id)
