"""Forms, as urllib reads them, in another time."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORM_SLICE = 1 << 18
_MOST_BROKEN = 1 << 16

_HEX = b"0123456789abcdefABCDEF"
_KINDS = bytes(104 if byte in _HEX else byte if byte == 37 else 46 for byte in range(256))
"""What each byte is to an escape: h for a hexadecimal digit, % itself, and a dot."""
_BROKEN = re.compile(rb"%(?![0-9a-fA-F]{2})")


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
    fields = []
    start = 0
    while start < len(body):
        end = body.find(b"&", start)
        if end < 0:
            end = len(body)
        if end > start:
            equals = body.find(b"=", start, end)
            if equals < 0:
                equals = end
            fields.append((_text(body, start, equals), _text(body, equals + 1, end)))
        start = end + 1
    return fields


def _text(body: bytes, start: int, end: int) -> str:
    return b"".join(map(_unquoted, _slices(body, start, end))).decode()


def _slices(body: bytes, start: int, end: int) -> Iterator[bytes]:
    """None ends within an escape."""
    while start < end:
        stop = min(start + _FORM_SLICE, end)
        while stop < end and (last := body.rfind(b"%", stop - 2, stop)) >= 0:
            stop = min(last + 3, end)
        yield body[start:stop]
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
