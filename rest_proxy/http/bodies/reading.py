"""A request's body, within its limits of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

from rest_proxy.http.bodies.unpacking import ENCODINGS, IDENTITY, Unpacking
from rest_proxy.http.bodies.values import LARGE, require_few_values
from rest_proxy.http.content import JSON
from rest_proxy.http.errors import body_too_late, invalid_argument, one_line, too_large, unsupported_encoding
from rest_proxy.http.fast.request import SmallRequest

if TYPE_CHECKING:
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

_UNREADABLE = (ValueError, web.RequestPayloadError, HttpProcessingError)

_MOST_CHUNKS = 16_384  # each takes the parser some microseconds, of however few bytes it is

_LEAVES_MUCH = 1 << 20  # bytes
LARGE_BODY = web.RequestKey("large", bool)
"""Set where a request leaves much memory behind."""

_KEPT: web.RequestKey[bytes | None] = web.RequestKey("kept")
"""Where a request holds its body for who asks again; None when nobody should."""


async def read_body(request: web.BaseRequest, settings: Settings, *, again: bool = False) -> bytes:
    """The body's bytes, decompressed. Raises HttpError.

    With `again` they may be asked for again; else the request lets go of them, so that they are not there beside what
    is made of them for as long as the model takes.
    """
    if isinstance(request, SmallRequest):  # within all limits
        return request.body
    if _KEPT in request:
        body = request[_KEPT]
        if body is None:
            raise RuntimeError("the body was asked for before, and not to be kept")
    else:
        body = await _read(request, settings)
    request[_KEPT] = body if again else None
    return body


async def _read(request: web.BaseRequest, settings: Settings) -> bytes:
    said = request.headers.get("Content-Encoding", IDENTITY)
    encoding = said.lower()
    if encoding not in ENCODINGS:
        raise unsupported_encoding(said, "gzip or deflate")
    if (request.content_length or 0) > settings.max_body_bytes:
        raise _too_large(settings)
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # so that it does not count as the beginning of the answer
    body = await _within_limits(request, encoding, settings)
    if len(body) > LARGE and request.content_type == JSON:
        await require_few_values(body, settings)
    return body


async def _within_limits(request: web.BaseRequest, encoding: str, settings: Settings) -> bytes:
    try:
        if request.content.is_eof():  # all of it is here: no need for a timer
            return await _whole(request, encoding, settings)
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            return await _whole(request, encoding, settings)
    except TimeoutError:
        raise body_too_late(settings.body_timeout_ms, request.content_length, request.content.total_bytes) from None
    except _UNREADABLE as error:
        raise invalid_argument(f"the body cannot be read: {one_line(error)}") from None


async def _whole(request: web.BaseRequest, encoding: str, settings: Settings) -> bytes:
    """All that comes. Its parts are joined once: a buffer that grows would be there twice, and a copy of it."""
    if request.content is EMPTY_PAYLOAD:
        return b""
    unpacking = None if encoding == IDENTITY else Unpacking(encoding)
    parts, size, chunks = [], 0, 0
    while True:
        came, ends_chunk = await request.content.readchunk()
        chunks += ends_chunk
        if chunks > _MOST_CHUNKS:
            raise invalid_argument(f"the body comes in over {_MOST_CHUNKS} chunks; send larger ones")
        if not (came or ends_chunk):
            break
        for part in (came,) if unpacking is None else unpacking.unpacked(came):
            size += len(part)
            if size > _LEAVES_MUCH:
                request[LARGE_BODY] = True
            if size > settings.max_body_bytes:
                raise _too_large(settings)
            parts.append(part)
            if unpacking is not None:
                await asyncio.sleep(0)  # others have their turns
    if unpacking is not None:
        unpacking.end()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(settings: Settings) -> HttpError:
    return too_large(f"the body is over {settings.max_body_bytes} bytes", setting="max_body_bytes")
