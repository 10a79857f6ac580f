"""Answers as bytes, as aiohttp would write them."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from rest_proxy.http.responses import Whole

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Writing(Protocol):
    """A connection that has answers to write."""

    def flush(self) -> None:
        """Write them."""


class AnswerWriter:
    """Of a server: what is the same in all answers of a second is made once.

    Answers are written at the end of a pass of the event loop, those of a batch of the model one after the other: a
    client that is woken by each takes the processor away from the next.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._second = 0
        self._end = ""
        self._unflushed: list[Writing] = []

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
        status = response.status
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._end = f"\r\nDate: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        head = f"{''.join(lines)}Content-Length: {len(body)}{self._end}"
        if head.count("\n") != len(lines) + 4:
            raise ValueError("a header of the answer has more than a line")
        return head.encode() + body
