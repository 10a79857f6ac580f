"""What a client speaks, from the first bytes that it sends.

An unframed message begins with the protocol's own mark: 0x80 0x01 (binary, strict), 0x82 and version 1 in the low five
bits (compact; version 2 is fbthrift's), `[1,"` (JSON), or, in the old form of the binary protocol, the length of the
method's name and the name. A frame begins with its length in four bytes, most significant first, and holds one such
message, or a header (0x0FFF) before it.

Formats: thrift/doc/specs/thrift-binary-protocol.md, thrift-compact-protocol.md, thrift-rpc.md and HeaderFormat.md.
"""

from __future__ import annotations

import enum

NAME_BYTES = 256
"""A method name longer than this is taken for a sign that the bytes are not Thrift."""

BINARY_MARK = 0x80
COMPACT_MARK = 0x82
HEADER_MARK = 0x0F
JSON_MARK = 0x5B

COMPACT_VERSIONS = (1, 2)
JSON_BEGINNING = b'[1,"'

_HTTP = tuple(
    f"{method} ".encode()
    for method in ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "TRACE", "PRI")
)
_HTTP_INITIALS = frozenset(method[0] for method in _HTTP)
_NAME_INITIALS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")


class Framing(enum.Enum):
    """Whether a message's length comes before it."""

    FRAMED = "framed"
    UNFRAMED = "unframed"


class ForeignBytesError(Exception):
    """What came is not Thrift. Nobody there would understand an answer; the text is for the log."""


def detect(head: bytes) -> Framing | None:
    """The framing that `head`, a connection's first bytes, shows; None as long as more bytes are needed.

    Raises ForeignBytesError when no Thrift message begins like that.
    """
    initial = head[0]
    if initial in (BINARY_MARK, COMPACT_MARK):
        return _marked(head, 0, Framing.UNFRAMED)
    if initial == JSON_MARK:
        return _json(head, 0, Framing.UNFRAMED)
    if initial in _HTTP_INITIALS:
        _check_http(head)
        return None
    if len(head) < 5:
        if head[:2] == b"\x16\x03":
            raise ForeignBytesError("TLS on the Thrift port; it speaks plain TCP")
        return None
    length = int.from_bytes(head[:4], "big")
    inner = head[4]
    if inner in (BINARY_MARK, COMPACT_MARK, HEADER_MARK):
        return _marked(head, 4, Framing.FRAMED)
    if inner == JSON_MARK:
        return _json(head, 4, Framing.FRAMED)
    if 1 <= length <= NAME_BYTES and inner in _NAME_INITIALS:
        return Framing.UNFRAMED
    if head[:2] == b"\x16\x03":
        raise ForeignBytesError("TLS on the Thrift port; it speaks plain TCP")
    return _framed_old(head)


def _check_http(head: bytes) -> None:
    """HTTP's methods are letters; as the first bytes of a length they would announce a gigabyte."""
    if any(head.startswith(method) for method in _HTTP):
        raise ForeignBytesError("HTTP request on the Thrift port; the REST proxy listens on its own port")
    if head.startswith(b"PROXY "):
        raise ForeignBytesError("PROXY protocol on the Thrift port; the setting proxy_protocol takes it")
    if not any(method.startswith(head) for method in _HTTP) and not b"PROXY ".startswith(head):
        raise ForeignBytesError("bytes that are no Thrift message")


def _marked(head: bytes, at: int, framing: Framing) -> Framing | None:
    """Check the byte behind the mark at `at`."""
    if len(head) < at + 2:
        return None
    mark, version = head[at], head[at + 1]
    if (
        (mark == BINARY_MARK and version == 1)
        or (mark == COMPACT_MARK and version & 0x1F in COMPACT_VERSIONS)
        or (mark == HEADER_MARK and version == 0xFF)
    ):
        return framing
    raise ForeignBytesError("bytes that are no Thrift message")


def _json(head: bytes, at: int, framing: Framing) -> Framing | None:
    """Check what stands behind the bracket at `at`."""
    beginning = head[at : at + len(JSON_BEGINNING)]
    if not JSON_BEGINNING.startswith(beginning):
        raise ForeignBytesError("bytes that are no Thrift message")
    return framing if beginning == JSON_BEGINNING else None


def _framed_old(head: bytes) -> Framing | None:
    """A frame whose first four bytes are the length of a name, and the name behind it."""
    if len(head) < 9 and head[4] == 0:
        return None
    if len(head) >= 9 and 1 <= int.from_bytes(head[4:8], "big") <= NAME_BYTES and head[8] in _NAME_INITIALS:
        return Framing.FRAMED
    raise ForeignBytesError("bytes that are no Thrift message")
