"""A request's body, within its limits of size and time."""

from __future__ import annotations

import asyncio
import binascii
import re
import zlib
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from rest_proxy.http.content import JSON
from rest_proxy.http.errors import body_too_late, invalid_argument, one_line, too_large, unsupported_encoding
from rest_proxy.http.fast.request import SmallRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

OTHER_FIELDS = 16  # in a form, beside its documents

LARGE = 64 << 10
"""Bytes of a body from which on its work is done in slices or beside the event loop."""

# The last two: a part of a form names a charset or an encoding that does not exist.
_UNREADABLE = (ValueError, web.RequestPayloadError, HttpProcessingError, LookupError, RuntimeError)

_MOST_DIGITS = 400  # float64's smallest numbers have 324; what one costs grows with their square
_LONG_NUMBER = b"0" * (_MOST_DIGITS + 1)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

_X_GZIP = "x-gzip"  # an old name (RFC 9110, section 8.4.1.3), which aiohttp does not know
_ENCODINGS = ("identity", "gzip", "deflate", _X_GZIP)

_FORM_SLICE = 1 << 18
_MOST_BROKEN = 1 << 16

_HEX = b"0123456789abcdefABCDEF"
_KINDS = bytes(104 if byte in _HEX else byte if byte == 37 else 46 for byte in range(256))
"""What each byte is to an escape: h for a hexadecimal digit, % itself, and a dot."""
_BROKEN = re.compile(rb"%(?![0-9a-fA-F]{2})")

T = TypeVar("T")


async def read_body(request: web.BaseRequest, settings: Settings) -> bytes:
    """The body's bytes, decompressed; they may be asked for again. Raises HttpError."""
    if isinstance(request, SmallRequest):  # within all limits
        return request.body
    await _accept(request, settings)
    body = await _within_limits(request, request.read(), settings)
    if request.headers.get("Content-Encoding", "").lower() == _X_GZIP:
        body = _unzipped(body, settings)
    if len(body) > LARGE and request.content_type == JSON:
        await require_few_values(body, settings)
    return body


async def read_multipart(request: web.BaseRequest, settings: Settings) -> list[tuple[str, str]]:
    """The fields of a multipart/form-data body, all of which must be text. Raises HttpError."""
    await _accept(request, settings)
    if request.headers.get("Content-Encoding", "").lower() == _X_GZIP:
        raise unsupported_encoding(_X_GZIP, "gzip or deflate")
    fields = []
    for name, value in (await _within_limits(request, request.post(), settings)).items():
        if not isinstance(value, str):
            raise invalid_argument("this is a file or binary; send it as text", field=name[:64])
        fields.append((name, value))
    return fields


async def _accept(request: web.BaseRequest, settings: Settings) -> None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in _ENCODINGS:  # aiohttp would take it for plain text
        raise unsupported_encoding(encoding, "gzip or deflate")
    if (request.content_length or 0) > settings.max_body_bytes:
        raise _body_too_large(settings)
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # so that it does not count as the beginning of the answer


async def _within_limits(request: web.BaseRequest, reading: Awaitable[T], settings: Settings) -> T:
    try:
        if request.content.is_eof():  # all of it is here: no need for a timer
            return await reading
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            return await reading
    except TimeoutError:
        raise body_too_late(settings.body_timeout_ms, request.content_length, request.content.total_bytes) from None
    except web.HTTPRequestEntityTooLarge as error:
        if "form fields" in (error.text or ""):  # aiohttp has one class for both
            raise too_many_documents(settings) from None
        raise _body_too_large(settings) from None
    except _UNREADABLE as error:
        raise invalid_argument(f"the body cannot be read: {one_line(error)}") from None


def _unzipped(body: bytes, settings: Settings) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        unzipped = unzip.decompress(body, settings.max_body_bytes + 1)
    except zlib.error as error:
        raise invalid_argument(f"the body cannot be read: {one_line(error)}") from None
    if len(unzipped) > settings.max_body_bytes:
        raise _body_too_large(settings)
    if not unzip.eof:
        raise invalid_argument("the body cannot be read: it ends too early")
    return unzipped


async def require_few_values(body: bytes, settings: Settings) -> None:
    """Raise TOO_LARGE for JSON of more values or fields than may be, and INVALID_ARGUMENT for an endless number.

    A parser holds up everything else while it runs, and what is wrong with a million values takes it minutes. To count
    commas and colons outside of strings takes a millisecond a megabyte, slice by slice.
    """
    values, fields, inside, start = 1, 0, False, 0
    while start < len(body):
        stop = start + LARGE
        while body[stop - 1 : stop] == b"\\":  # never between a backslash and what it escapes
            stop += 1
        parts = body[start:stop].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[1 if inside else 0 :: 2])
        inside ^= len(parts) % 2 == 0
        if _LONG_NUMBER in outside.translate(_DIGITS):
            raise invalid_argument(f"the body has a number of over {_MOST_DIGITS} digits")
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        fields += outside.count(b":")
        if values > settings.max_json_values:
            raise too_large(f"the body has over {settings.max_json_values} values", setting="max_json_values")
        if fields > settings.max_json_fields:
            raise too_large(f"the body has over {settings.max_json_fields} fields", setting="max_json_fields")
        start = stop
        await asyncio.sleep(0)


def too_many_documents(settings: Settings) -> HttpError:
    """A form has more fields than it can need."""
    return too_large(f"the form has over {settings.max_docs} documents", setting="max_docs")


def _body_too_large(settings: Settings) -> HttpError:
    return too_large(f"the body is over {settings.max_body_bytes} bytes", setting="max_body_bytes")


class FormError(ValueError):
    """It cannot be read."""


class TooManyFieldsError(FormError):
    """It has more than it may."""


def form_fields(body: bytes, most: int) -> list[tuple[str, str]]:
    """Names and values. Raises FormError, and UnicodeDecodeError for bytes that are no UTF-8.

    urllib makes an object of each escape: 16 MB of them take it three seconds and 1.3 GB.
    """
    if body.count(b"&") + 1 > most:
        raise TooManyFieldsError
    pairs = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return [(_text(name), _text(value)) for name, _, value in pairs]


def _text(quoted: bytes) -> str:
    return b"".join(map(_unquoted, _slices(quoted))).decode()


def _slices(data: bytes) -> Iterator[bytes]:
    """None ends within an escape."""
    start = 0
    while start < len(data):
        stop = start + _FORM_SLICE
        while (last := data.rfind(b"%", stop - 2, stop)) >= 0:
            stop = last + 3
        yield data[start:stop]
        start = stop


def _unquoted(data: bytes) -> bytes:
    data = data.replace(b"+", b" ")
    escapes = data.count(b"%")
    if not escapes:
        return data
    if data.translate(_KINDS).count(b"%hh") < escapes:
        if escapes > _MOST_BROKEN:
            raise FormError("the form has a % that begins no escape, among many")
        data = _BROKEN.sub(b"%25", data)  # it stands for itself
    # quoted-printable has escapes of the same form, by another character
    return binascii.a2b_qp(data.replace(b"=", b"%3D").replace(b"%", b"="))
