"""Blocking Thrift clients of every dialect that the port accepts, for tests."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID, THeaderTransformID
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Dialect:
    """A transport and a protocol; `protocol(transport(socket))` is what a generated client speaks through."""

    name: str
    transport: Callable[[Any], Any]
    protocol: Callable[[Any], Any]


def _old_binary(transport: Any) -> TBinaryProtocol:
    return TBinaryProtocol(transport, strictRead=False, strictWrite=False)


def _header(subprotocol: int, *, compressed: bool) -> Callable[[Any], THeaderProtocol]:
    def protocol(transport: Any) -> THeaderProtocol:
        made = THeaderProtocol(transport, (THeaderClientType.HEADERS,), subprotocol)
        if compressed:
            made.add_transform(THeaderTransformID.ZLIB)
        return made

    return protocol


class BigEndianCompactProtocol(TCompactProtocol):  # type: ignore[misc]  # the thrift package has no annotations
    """Version 2 of the compact protocol, as fbthrift writes it: a double's highest byte comes first."""

    VERSION = 2

    def writeDouble(self, number: float) -> None:  # noqa: N802  # the thrift package's name
        """See TProtocol."""
        super().writeDouble(_turned(number))

    def readDouble(self) -> float:  # noqa: N802
        """See TProtocol."""
        return _turned(super().readDouble())


def _turned(number: float) -> float:
    turned: float = struct.unpack("<d", struct.pack(">d", number))[0]
    return turned


def multiplexed(protocol: Callable[[Any], Any]) -> Callable[[Any], TMultiplexedProtocol]:
    """The same protocol for a server of several services, with the name of ours."""
    return lambda transport: TMultiplexedProtocol(protocol(transport), "Predictor")


def _same(transport: Any) -> Any:
    return transport


DIALECTS = (
    Dialect("unframed-binary", TBufferedTransport, TBinaryProtocol),
    Dialect("unframed-binary-accelerated", TBufferedTransport, TBinaryProtocolAccelerated),
    Dialect("unframed-binary-old", TBufferedTransport, _old_binary),
    Dialect("unframed-compact", TBufferedTransport, TCompactProtocol),
    Dialect("unframed-compact-accelerated", TBufferedTransport, TCompactProtocolAccelerated),
    Dialect("unbuffered-binary", _same, TBinaryProtocol),
    Dialect("unbuffered-compact", _same, TCompactProtocol),
    Dialect("framed-binary", TFramedTransport, TBinaryProtocol),
    Dialect("framed-binary-accelerated", TFramedTransport, TBinaryProtocolAccelerated),
    Dialect("framed-binary-old", TFramedTransport, _old_binary),
    Dialect("framed-compact", TFramedTransport, TCompactProtocol),
    Dialect("framed-compact-accelerated", TFramedTransport, TCompactProtocolAccelerated),
    Dialect("header-binary", _same, _header(THeaderSubprotocolID.BINARY, compressed=False)),
    Dialect("header-compact", _same, _header(THeaderSubprotocolID.COMPACT, compressed=False)),
    Dialect("header-binary-zlib", _same, _header(THeaderSubprotocolID.BINARY, compressed=True)),
    Dialect("header-compact-zlib", _same, _header(THeaderSubprotocolID.COMPACT, compressed=True)),
    Dialect("unframed-json", TBufferedTransport, TJSONProtocol),
    Dialect("framed-json", TFramedTransport, TJSONProtocol),
    Dialect("unframed-compact-fbthrift", TBufferedTransport, BigEndianCompactProtocol),
    Dialect("framed-compact-fbthrift", TFramedTransport, BigEndianCompactProtocol),
    Dialect("unframed-binary-multiplexed", TBufferedTransport, multiplexed(TBinaryProtocol)),
    Dialect("unframed-compact-multiplexed", TBufferedTransport, multiplexed(TCompactProtocol)),
    Dialect("unframed-json-multiplexed", TBufferedTransport, multiplexed(TJSONProtocol)),
    Dialect("framed-binary-multiplexed", TFramedTransport, multiplexed(TBinaryProtocol)),
    Dialect("framed-compact-multiplexed", TFramedTransport, multiplexed(TCompactProtocol)),
    Dialect("framed-json-multiplexed", TFramedTransport, multiplexed(TJSONProtocol)),
    Dialect("header-binary-multiplexed", _same, multiplexed(_header(THeaderSubprotocolID.BINARY, compressed=False))),
    Dialect(
        "header-compact-zlib-multiplexed", _same, multiplexed(_header(THeaderSubprotocolID.COMPACT, compressed=True))
    ),
)

BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


@contextlib.contextmanager
def client(
    port: int,
    dialect: Dialect = BY_NAME["framed-binary-accelerated"],
    *,
    service: Any = Predictor,
    timeout_s: float = 60.0,
    host: str = HOST,
    socket_type: type[TSocket] = TSocket,
) -> Iterator[Any]:
    """An open client of a generated service module, closed at the end of the block."""
    socket = socket_type(host, port)
    socket.setTimeout(timeout_s * 1000)
    transport = dialect.transport(socket)
    protocol = dialect.protocol(transport)
    transport.open()
    try:
        yield service.Client(protocol)
    finally:
        transport.close()
