"""Frames with a header that says whose call it is (THeader; thrift/doc/specs/HeaderFormat.md)."""

from __future__ import annotations

from struct import Struct

_HEAD = Struct("!IIiH")
_MAGIC = 0x0FFF0000
_WORDS_AT = 8
_FIXED = 10
_KEY = b"authorization"


def with_token(frame: bytes, seqid: int, token: str) -> bytes:
    """The message in `frame`, which begins with its length, in a frame whose header has the token."""
    value = b"Bearer " + token.encode("utf-8", "surrogateescape")
    # The protocol (0: binary), no transforms, one list of pairs (1), one pair in it.
    header = b"\0\0\1\1" + _varint(len(_KEY)) + _KEY + _varint(len(value)) + value
    header += bytes(-len(header) % 4)
    size = _FIXED + len(header) + len(frame) - 4
    return _HEAD.pack(size, _MAGIC, seqid, len(header) // 4) + header + frame[4:]


def without_header(frame: bytes) -> bytes:
    """The message in a frame, without its length, that may have a header. Ours has asked for no transforms."""
    if frame[:2] != b"\x0f\xff":
        return frame
    return frame[_FIXED + 4 * int.from_bytes(frame[_WORDS_AT:_FIXED]) :]


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])
