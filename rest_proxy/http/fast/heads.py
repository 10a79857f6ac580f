"""Heads of requests: where they end in what has come, and what of them counts.

A client sends the same headers again and again. A block of headers that aiohttp's parser has read once is known: it is
found by its bytes, and need not be read again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from rest_proxy.http.content import MULTIPART, content_type_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

LARGEST = 64 << 10
"""Bytes of a request, head and body, that may go the short way."""

_MOST_KNOWN = 1024
_LARGEST_KNOWN = 4096

# Only characters that every reader of URLs takes as they are: any other goes the usual way.
LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[A-Za-z0-9/?=&%+._~:@!$'()*,;-]*) HTTP/1\.1\r\n")

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")

END = b"\r\n\r\n"


def quoted(data: bytes) -> bytes:
    """What begins with a request, with bytes beyond ASCII in its URL written as a browser does: they are often sent."""
    line, end, rest = data.partition(b"\r\n")
    if line.isascii() or not end:
        return data
    return _BEYOND_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + end + rest


class Head:
    """A block of headers.

    `length` is that of the body behind it, None where only the usual way knows. `short`: whether the request may go the
    short way.
    """

    __slots__ = ("content_type", "headers", "length", "short")

    def __init__(self, headers: Mapping[str, str], length: int | None, *, short: bool) -> None:
        self.content_type = content_type_of(headers)
        self.headers = headers
        self.length = length
        self.short = short


_UNREADABLE = Head({}, None, short=False)


class Heads:
    """Blocks of headers that are known; of all connections, as none has anything of a connection in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_line_bytes: int) -> None:
        self._loop = loop
        self._max_line_bytes = max_line_bytes
        self._known: dict[bytes, Head] = {}
        self._parser: HttpRequestParser | None = None

    def read(self, block: bytes) -> Head:
        """The head with these bytes after its request line, the empty line at its end included."""
        head = self._known.get(block)
        if head is None:
            head = self._parse(block)
            if len(block) <= _LARGEST_KNOWN:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[block] = head
        return head

    def _parse(self, block: bytes) -> Head:
        parser = self._parser or self._new_parser()
        self._parser = None
        try:
            messages, upgraded, tail = parser.feed_data(b"POST / HTTP/1.1\r\n" + block)
        except HttpProcessingError:
            return _UNREADABLE
        if len(messages) != 1 or upgraded or tail:
            return _UNREADABLE
        message = messages[0][0]
        parser.message_consumed()
        head = _head_of(message)
        if head.short and not head.length:
            self._parser = parser  # it waits for the next request: neither for a body, nor for the end
        return head

    def _new_parser(self) -> HttpRequestParser:
        limit = self._max_line_bytes
        return HttpRequestParser(
            BaseProtocol(self._loop), self._loop, LARGEST, max_line_size=limit, max_field_size=limit
        )


def _head_of(message: Any) -> Head:
    headers = message.headers
    if message.chunked or message.upgrade or hdrs.TRANSFER_ENCODING in headers:
        return _UNREADABLE
    length = int(headers.get(hdrs.CONTENT_LENGTH, 0))
    short = (
        message.version == HttpVersion11
        and not message.should_close
        and message.compression is None
        and hdrs.EXPECT not in headers
        and hdrs.CONTENT_ENCODING not in headers
        and content_type_of(headers) != MULTIPART
        and length <= LARGEST
    )
    return Head(headers, length, short=short)
