"""Answers as bytes, as aiohttp would write them."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time

from rest_proxy.http.content import SERVER
from rest_proxy.http.responses import REQUEST_ID, Whole

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from aiohttp import web

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


_ID = "\0"
"""Where a request's id stands in the head of a DirectAnswer while that is made; no header has it."""


class Writing(Protocol):
    """A connection that has answers to write."""

    def flush(self) -> None:
        """Write them."""


class DirectAnswer:
    """The head of an answer whose headers are the same each time but for the request's id: the bytes around that.

    It keeps `headers`, and so their id, by which it is found.
    """

    __slots__ = ("_headers", "after", "before", "last")

    def __init__(self, headers: Mapping[str, str], before: bytes, after: bytes, last: bytes) -> None:
        self._headers = headers
        self.before = before
        self.after = after
        self.last = last


class AnswerWriter:
    """Of a server: what is the same in all answers of a second is made once.

    `vary`: what every answer's header Vary has besides its own; None for nothing.

    Answers are written at the end of a pass of the event loop, those of a batch of the model one after the other: a
    client that is woken by each takes the processor away from the next.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, vary: str | None = None) -> None:
        self._loop = loop
        self._vary = vary
        self._second = 0
        self._end = b""
        self._unflushed: list[Writing] = []
        self._direct: dict[int, DirectAnswer] = {}

    def flush_soon(self, connection: Writing) -> None:
        """Flush the connection at the end of this pass."""
        if not self._unflushed:
            self._loop.call_soon(self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            connection.flush()

    def bytes_of(self, response: web.Response) -> bytes:
        """The whole answer to a request of HTTP/1.1 whose connection stays open. Raises ValueError."""
        if isinstance(response, Whole):
            headers, body = response.plain_headers, response.plain_body
        else:
            assert isinstance(response.body, bytes)
            headers, body = dict(response.headers), response.body
            headers.pop(hdrs.CONTENT_LENGTH, None)
        head, last = self._head(response.status, headers)
        if not self._unflushed:
            self._look_at_the_clock()
        return b"".join((head, b"%d" % len(body), self._end, last, body))

    def direct_bytes(self, headers: Mapping[str, str], request_id: str, body: bytes) -> bytes:
        """The whole answer with status 200; `headers` are the same object each time, the header of ids left out."""
        answer = self._direct.get(id(headers)) or self._new_direct(headers)
        if not self._unflushed:
            self._look_at_the_clock()
        return b"".join(
            (answer.before, request_id.encode(), answer.after, b"%d" % len(body), self._end, answer.last, body)
        )

    def _new_direct(self, headers: Mapping[str, str]) -> DirectAnswer:
        (content_type, *others) = headers.items()
        head, last = self._head(200, dict([content_type, (REQUEST_ID, _ID), *others]))
        before, _, after = head.partition(_ID.encode())
        answer = self._direct[id(headers)] = DirectAnswer(headers, before, after, last)
        return answer

    def _head(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
        """The bytes up to the length of the body, and those after the date. Raises ValueError."""
        last = "\r\n"
        if self._vary is not None:
            if hdrs.VARY in headers:
                headers = {**headers, hdrs.VARY: f"{headers[hdrs.VARY]}, {self._vary}"}
            else:
                last = f"{hdrs.VARY}: {self._vary}\r\n\r\n"
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = "".join(lines)
        if head.count("\n") != len(lines):
            raise ValueError("a header of the answer has more than a line")
        return f"{head}Content-Length: ".encode(), last.encode()

    def _look_at_the_clock(self) -> None:
        """Before the first answer of a pass: what follows the length, with the headers that all of a second have."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._end = f"\r\nDate: {rfc822_formatted_time()}\r\nServer: {SERVER}\r\n".encode()
