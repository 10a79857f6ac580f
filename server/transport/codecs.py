"""The ways in which Thrift writes a message: binary (strict), binary (old), compact, fbthrift's compact, and JSON.

The values themselves are read and written by the thrift package's C extension. What is done here is the envelope around
them (the method's name, the type of the message, the sequence id), because it comes with every call and takes a few
lines. The sequence id is kept as the bytes that came: an answer repeats them.

Formats: thrift/doc/specs/thrift-binary-protocol.md and thrift-compact-protocol.md, "Message encoding".
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING, Any

from thrift.protocol import fastbinary
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.TTransport import TMemoryBuffer

from server.transport import big_endian, json_values
from server.transport.detect import BINARY_MARK, COMPACT_MARK, JSON_BEGINNING, JSON_MARK, NAME_BYTES, ForeignBytesError

if TYPE_CHECKING:
    from collections.abc import Callable

CALL, REPLY, EXCEPTION, ONEWAY = 1, 2, 3, 4
"""The types of a message (thrift.Thrift.TMessageType)."""

_STRICT = 0x80010000
_TWO_WORDS = Struct(">II").unpack_from
_WORD = Struct(">I").unpack_from


Envelope = tuple[bytes, int, bytes, int]
"""
What stands before a message's values: the method's name; CALL, REPLY, EXCEPTION, ONEWAY or whatever a client sends; the
sequence id as it came; and where in the data the values begin.
"""


class Codec(ABC):
    """One way of writing a message."""

    decode: Callable[..., Any]
    """decode(object, source, [class, spec]): fill the object from the source (thrift.protocol.fastbinary)."""
    encode: Callable[..., bytes]
    """encode(object, [class, spec]) -> the struct's bytes (thrift.protocol.fastbinary)."""
    protocol: Callable[[Any], Any]
    """The same in Python, for what is rare."""

    @abstractmethod
    def envelope(self, data: bytes, start: int, end: int) -> Envelope | None:
        """Read the envelope that begins at `start`; None when it goes on beyond `end`.

        Raises ForeignBytesError when there is none.
        """

    @abstractmethod
    def frame(self, name: bytes, kind: int) -> tuple[bytes, bytes]:
        """The bytes of an envelope before its sequence id, and those after it."""

    def write(self, value: Any) -> bytes:
        """The bytes of a struct that has only a `write` of its own, as TApplicationException."""
        buffer = TMemoryBuffer()
        value.write(self.protocol(buffer))
        written: bytes = buffer.getvalue()
        return written


class StrictCodec(Codec):
    """The binary protocol with a version word first; what every generated client has written since 2008."""

    decode = staticmethod(fastbinary.decode_binary)
    encode = staticmethod(fastbinary.encode_binary)
    protocol = TBinaryProtocol

    def envelope(self, data: bytes, start: int, end: int) -> Envelope | None:
        """See Codec."""
        if end - start < 8:
            return None
        version, size = _TWO_WORDS(data, start)
        if version & 0xFFFF0000 != _STRICT or size > NAME_BYTES:
            raise ForeignBytesError("bytes that are no Thrift message")
        seqid = start + 8 + size
        body = seqid + 4
        if body > end:
            return None
        return (data[start + 8 : seqid], version & 0xFF, data[seqid:body], body)

    def frame(self, name: bytes, kind: int) -> tuple[bytes, bytes]:
        """See Codec."""
        return (_STRICT | kind).to_bytes(4, "big") + len(name).to_bytes(4, "big") + name, b""


class OldCodec(Codec):
    """The binary protocol before it had versions: name, type, sequence id."""

    decode = staticmethod(fastbinary.decode_binary)
    encode = staticmethod(fastbinary.encode_binary)
    protocol = TBinaryProtocol

    def envelope(self, data: bytes, start: int, end: int) -> Envelope | None:
        """See Codec."""
        if end - start < 4:
            return None
        (size,) = _WORD(data, start)
        if not 1 <= size <= NAME_BYTES:
            raise ForeignBytesError("bytes that are no Thrift message")
        kind = start + 4 + size
        body = kind + 5
        if body > end:
            return None
        return (data[start + 4 : kind], data[kind], data[kind + 1 : body], body)

    def frame(self, name: bytes, kind: int) -> tuple[bytes, bytes]:
        """See Codec."""
        return len(name).to_bytes(4, "big") + name + bytes([kind]), b""


class CompactCodec(Codec):
    """The compact protocol: numbers in as few bytes as they need."""

    decode = staticmethod(fastbinary.decode_compact)
    encode = staticmethod(fastbinary.encode_compact)
    protocol = TCompactProtocol
    version = 1

    def envelope(self, data: bytes, start: int, end: int) -> Envelope | None:
        """See Codec."""
        if end - start < 2:
            return None
        if data[start + 1] & 0x1F != self.version:
            raise ForeignBytesError("bytes that are no Thrift message")
        seqid = start + 2
        name_size = _after_varint(data, seqid, end)
        name = _after_varint(data, name_size, end) if name_size else 0
        if not name:
            return None
        size = _varint(data, name_size)
        if size > NAME_BYTES:
            raise ForeignBytesError("bytes that are no Thrift message")
        body = name + size
        if body > end:
            return None
        return (data[name:body], data[start + 1] >> 5, data[seqid:name_size], body)

    def frame(self, name: bytes, kind: int) -> tuple[bytes, bytes]:
        """See Codec."""
        size = len(name)
        written = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
        return bytes([COMPACT_MARK, self.version | kind << 5]), written + name


class BigEndianCompactCodec(CompactCodec):
    """The compact protocol's version 2, which fbthrift writes."""

    decode = staticmethod(big_endian.decode)
    encode = staticmethod(big_endian.encode)
    version = 2


def _decode_json(*_: Any) -> Any:
    """JSON is read when its end is known, by json_values.read_arguments."""
    raise TypeError("JSON is not decoded from a stream")


def _encode_json(value: Any, types: Any) -> bytes:
    return json_values.written(value, types) + b"]"


class JsonCodec(Codec):
    """The JSON protocol. What stands after a message's arguments, a bracket, is written and read with them."""

    decode = staticmethod(_decode_json)
    encode = staticmethod(_encode_json)
    protocol = TJSONProtocol

    def envelope(self, data: bytes, start: int, end: int) -> Envelope | None:
        """See Codec."""
        found = _JSON_ENVELOPE.match(data, start, end)
        if found is None:
            beginning = data[start : start + len(JSON_BEGINNING)]
            if end - start > NAME_BYTES + _JSON_NUMBERS or not JSON_BEGINNING.startswith(beginning):
                raise ForeignBytesError("bytes that are no Thrift message")
            return None
        name, kind, seqid = found.groups()
        return (name, int(kind), seqid, found.end())

    def frame(self, name: bytes, kind: int) -> tuple[bytes, bytes]:
        """See Codec."""
        return b'[1,"%b",%d,' % (name, kind), b","

    def write(self, value: Any) -> bytes:
        """See Codec."""
        return super().write(value) + b"]"


_JSON_NUMBERS = 32
"""Bytes of an envelope in JSON that are not the method's name."""

_JSON_ENVELOPE = re.compile(rb'\[1,"((?:[^"\\]|\\.){0,%d})",(\d{1,2}),(-?\d{1,10}),' % NAME_BYTES)


def _after_varint(data: bytes, start: int, end: int) -> int:
    """Where the number of at most five bytes that begins at `start` ends; 0 when that is beyond `end`."""
    for at in range(start, min(start + 5, end)):
        if data[at] < 0x80:
            return at + 1
    if end - start >= 5:
        raise ForeignBytesError("bytes that are no Thrift message")
    return 0


def _varint(data: bytes, start: int) -> int:
    """The number that begins at `start`: seven bits a byte, the lowest first, the top bit set in all but the last."""
    value = shift = 0
    while True:
        byte = data[start]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        start += 1
        shift += 7


STRICT = StrictCodec()
OLD = OldCodec()
COMPACT = CompactCodec()
BIG_ENDIAN_COMPACT = BigEndianCompactCodec()
JSON = JsonCodec()

CODECS = (STRICT, OLD, COMPACT, BIG_ENDIAN_COMPACT, JSON)


def codec_of(data: bytes, start: int) -> Codec:
    """The codec of the message that begins at `start`."""
    initial = data[start]
    if initial == BINARY_MARK:
        return STRICT
    if initial == COMPACT_MARK:
        version = data[start + 1] & 0x1F if len(data) > start + 1 else COMPACT.version
        return BIG_ENDIAN_COMPACT if version == BIG_ENDIAN_COMPACT.version else COMPACT
    return JSON if initial == JSON_MARK else OLD
