"""Forms in parts, multipart/form-data: RFC 7578."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rest_proxy.http.bodies.forms import FormError, TooManyFieldsError
from rest_proxy.http.content import charset_of
from rest_proxy.http.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_BOUNDARY = 70
_PADDING = 64  # bytes of white space behind a boundary
_MOST_HEAD = 8192  # bytes
_MOST_HEADERS, _MOST_PARAMETERS = 16, 16
_PARAMETER = re.compile(r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))[ \t]*(?=;|$)')
_ESCAPED = re.compile(r"\\(.)")
_EXTENDED = "utf-8'"
"""How the value of a parameter begins whose name ends in a star: RFC 5987, of whose charsets this one counts."""

_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
"""Of the codecs that Python knows some take the square of a text's length in time."""
_DEFAULT_CHARSET = "_charset_"
"""The field that names the charset of those parts that do not: RFC 7578, section 4.6."""


def part_fields(body: bytes, boundary: str | None, most: int) -> list[tuple[str, str]]:
    """Names and values, all of which must be text. Raises FormError, and HttpError, which names a field that is none.

    Parts are found one by one, so that what there is beyond the limit costs nothing.
    """
    if not boundary or len(boundary) > _LONGEST_BOUNDARY:
        raise FormError(f"the header Content-Type must have a boundary of 1 to {_LONGEST_BOUNDARY} characters")
    mark = b"\r\n--" + boundary.encode()
    fields: list[tuple[str, str]] = []
    at = _behind_first(body, mark)
    while not body.startswith(b"--", at):
        if len(fields) >= most:
            raise TooManyFieldsError
        line = body.find(b"\r\n", at, at + _PADDING)
        end = body.find(mark, at) if line >= 0 and not body[at:line].strip() else -1
        if end < 0:
            raise FormError("the form ends too early, or a line only begins as its boundary does")
        head_end = body.find(b"\r\n\r\n", line, min(end, line + _MOST_HEAD) + 2)
        if head_end < 0:
            raise FormError(f"a part has no head of at most {_MOST_HEAD} bytes")
        field = _field(_headers(body[line + 2 : head_end]), body[head_end + 4 : end])
        if field[0] != _DEFAULT_CHARSET:
            fields.append(field)
        elif field[1].strip().lower() not in _CHARSETS:
            raise _wrong_charset(field[1].strip())
        at = end + len(mark)
    return fields


def _behind_first(body: bytes, mark: bytes) -> int:
    """Where the first boundary has ended. What comes before it counts for nothing."""
    if body.startswith(mark[2:]):
        return len(mark) - 2
    found = body.find(mark)
    if found < 0:
        raise FormError("the form has no line with its boundary")
    return found + len(mark)


def _headers(head: bytes) -> dict[str, str]:
    """By their names in lower case."""
    lines = head.split(b"\r\n", _MOST_HEADERS)
    if len(lines) > _MOST_HEADERS:
        raise FormError(f"a part has over {_MOST_HEADERS} headers")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        if value.count(b";") > _MOST_PARAMETERS:
            raise FormError(f"a part has a header with over {_MOST_PARAMETERS} parameters")
        headers[name.strip().lower().decode()] = value.strip().decode()
    return headers


def _field(headers: Mapping[str, str], value: bytes) -> tuple[str, str]:
    parameters = _parameters(headers.get("content-disposition", ""))
    name = parameters.get("name")
    if name is None:
        raise FormError("a part has no name")
    content_type = headers.get("content-type", "text/plain")
    if parameters.get("filename") or not content_type.lower().startswith("text/"):
        raise invalid_argument("this is a file or binary; send it as text", field=name[:64])
    charset = charset_of({"Content-Type": content_type})
    if charset is not None and charset.lower() not in _CHARSETS:
        raise _wrong_charset(charset)
    return name, _decoded(value, headers.get("content-transfer-encoding")).decode()


def _parameters(disposition: str) -> dict[str, str]:
    """Those behind the first word of the header Content-Disposition."""
    parameters: dict[str, str] = {}
    at = disposition.find(";")
    while 0 <= at < len(disposition) and (found := _PARAMETER.match(disposition, at)):
        name, quoted, plain = found[1].lower(), found[2], found[3]
        value = plain.rstrip() if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if name.endswith("*"):
            if not value.lower().startswith(_EXTENDED):
                raise FormError("the name of a part, or of its file, is not in UTF-8")
            name, value = name[:-1], unquote(value.split("'", 2)[-1], errors="strict")
        parameters.setdefault(name, value)
        at = found.end()
    return parameters


def _decoded(value: bytes, encoding: str | None) -> bytes:
    """As older clients send it; today's send all as it is."""
    match (encoding or "binary").lower():
        case "binary" | "8bit" | "7bit":
            return value
        case "base64":
            return binascii.a2b_base64(value)
        case "quoted-printable":
            return binascii.a2b_qp(value)
    raise FormError(f"a part has the content transfer encoding {(encoding or '')[:64]!r}")


def _wrong_charset(charset: str) -> FormError:
    return FormError(f"a part has the charset {charset[:64]!r}; use UTF-8")
