"""Heads of requests: where they end in what has come, and what of them counts.

A client sends the same headers again and again. A block of headers that aiohttp's parser has read once is known: it is
found by its bytes, and need not be read again. So is a whole head, where its URL has no query.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from yarl import URL

from rest_proxy.http.content import MULTIPART, content_type_of
from rest_proxy.http.responses import REQUEST_ID

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from multidict import MultiMapping

LARGEST = 64 << 10
"""Bytes of a request, head and body, that may go the short way."""

_MOST_KNOWN = 1024
_LARGEST_KNOWN = 4096

# Only characters that every reader of URLs takes as they are: any other goes the usual way.
_URL = rb"A-Za-z0-9/=&%+._~:@!$'()*,;-"
LINE = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[" + _URL + rb"]*+)(?:\?([" + _URL + rb"?]*+))? HTTP/1\.1\r\n"
)

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")

_SANE_ID = re.compile(r"[!-~]{1,128}")

END = b"\r\n\r\n"


def quoted(data: bytes) -> bytes:
    """What begins with a request, with bytes beyond ASCII in its URL written as a browser does: they are often sent."""
    line, end, rest = data.partition(b"\r\n")
    if line.isascii() or not end:
        return data
    return _BEYOND_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + end + rest


def given_id(headers: Mapping[str, str]) -> str | None:
    """The id that a request brings; None where it brings none, or one that no log should have."""
    value = headers.get(REQUEST_ID)
    return value if value is not None and _SANE_ID.fullmatch(value) else None


class HeaderBlock:
    """A block of headers.

    `length` is that of the body behind it, None where only the usual way knows. `short`: whether the request may go the
    short way. `accept` is the header Accept, empty where there is none. `request_id`: see given_id.
    """

    __slots__ = ("accept", "content_type", "headers", "length", "request_id", "short")

    def __init__(self, headers: Mapping[str, str], length: int | None, *, short: bool) -> None:
        self.accept = headers.get(hdrs.ACCEPT, "")
        self.content_type = content_type_of(headers)
        self.headers = headers
        self.length = length
        self.request_id = given_id(headers)
        self.short = short


class Head:
    """The head of a request that may go the short way: what was asked, and a block of headers.

    It is the request's URL too, as its path and its query came; what else a URL has is made when it is asked for.
    `route` is None for a request that goes the usual way all the same; `direct` is the route's, where it answers the
    method. `content_type`: see content_type_of. `size`: bytes of head and body together.
    """

    __slots__ = ("block", "content_type", "direct", "method", "raw_path", "raw_query_string", "route", "size")

    def __init__(self, method: str, path: str, query: str, block: HeaderBlock, size: int) -> None:
        self.method = method
        self.raw_path = path
        self.raw_query_string = query
        self.block = block
        self.content_type = block.content_type
        self.size = size
        self.route: Any = None
        self.direct: Any = None

    @property
    def headers(self) -> Mapping[str, str]:
        """As aiohttp's requests have them, like the next."""
        return self.block.headers

    @property
    def rel_url(self) -> Head:
        """This."""
        return self

    @property
    def query(self) -> MultiMapping[str]:
        """The fields of the query, decoded."""
        return self._url.query

    @property
    def query_string(self) -> str:
        """The query, decoded."""
        return self._url.query_string if self.raw_query_string else ""

    @property
    def _url(self) -> URL:
        return URL.build(path=self.raw_path, query_string=self.raw_query_string, encoded=True)


_UNREADABLE = HeaderBlock({}, None, short=False)


class Heads:
    """Heads that are known; of all connections, as none has anything of a connection in it.

    `route_of` gives the route of a request that may go the short way, None for any other, and notes `direct`. It sees
    the head alone, and its answer is kept with the head.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_line_bytes: int, route_of: Callable[[Head], Any]) -> None:
        self._loop = loop
        self._max_line_bytes = max_line_bytes
        self._route_of = route_of
        self._known: dict[bytes, HeaderBlock] = {}
        self._known_heads: dict[bytes, Head] = {}
        self._parser: HttpRequestParser | None = None

    def head(self, data: bytes, end: int) -> Head | None:
        """The head with which `data` begins, and which ends at `end`; None where only the usual way can tell."""
        whole = data[:end]
        return self._known_heads.get(whole) or self._read_head(whole)

    def may_begin(self, data: bytes) -> bool:
        """Whether `data`, in which no head ends, begins with a line that may go the short way."""
        line = LINE.match(data)
        return line is not None and line.end() <= self._max_line_bytes

    def _read_head(self, whole: bytes) -> Head | None:
        line = LINE.match(whole)
        if line is None:
            return None
        after_line = line.end()
        if after_line > self._max_line_bytes:  # a part of it may be within the limit: aiohttp's parser knows
            return None
        block = self.block(whole[after_line:])
        if not block.short:
            return None
        method, path, query = line.groups(b"")
        size = len(whole) + (block.length or 0)
        head = Head(method.decode(), path.decode(), query.decode(), block, size)
        head.route = self._route_of(head)
        if not query and len(whole) <= _LARGEST_KNOWN:
            if len(self._known_heads) >= _MOST_KNOWN:
                self._known_heads.clear()
            self._known_heads[whole] = head
        return head

    def block(self, block: bytes) -> HeaderBlock:
        """The headers in these bytes after a request line, the empty line at their end included."""
        known = self._known.get(block)
        if known is None:
            known = self._parse(block)
            if len(block) <= _LARGEST_KNOWN:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[block] = known
        return known

    def _parse(self, block: bytes) -> HeaderBlock:
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
        known = _block_of(message)
        if known.short and not known.length:
            self._parser = parser  # it waits for the next request: neither for a body, nor for the end
        return known

    def _new_parser(self) -> HttpRequestParser:
        limit = self._max_line_bytes
        return HttpRequestParser(
            BaseProtocol(self._loop), self._loop, LARGEST, max_line_size=limit, max_field_size=limit
        )


def _block_of(message: Any) -> HeaderBlock:
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
    return HeaderBlock(headers, length, short=short)
