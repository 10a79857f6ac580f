"""Frames that carry a header before the message (THeader): which protocol is inside, transforms, key-value pairs.

The thrift package reads and writes them; here a frame answers in the way in which it was asked.

Format: thrift/doc/specs/HeaderFormat.md.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID, THeaderTransport
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from server.transport.limits import MAX_BYTES

if TYPE_CHECKING:
    from server.transport.limits import Limits

PROTOCOLS = (THeaderSubprotocolID.BINARY, THeaderSubprotocolID.COMPACT)


class HeaderFrame(THeaderTransport):  # type: ignore[misc]  # the thrift package has no annotations
    """One frame with a header, and the way back for its answer."""

    _protocol_id: int

    def __init__(self, limits: Limits) -> None:
        super().__init__(TMemoryBuffer(), (THeaderClientType.HEADERS,))
        self.set_max_frame_size(MAX_BYTES - 1)
        self.set_max_decompressed_size(limits.message_bytes)

    def unwrap(self, frame: bytes) -> bytes:
        """The message in `frame`, which begins with its length. Raises TApplicationException when there is none."""
        self._transport = TMemoryBuffer(frame)
        try:
            self.readFrame(0)
        except TApplicationException:
            self._write_transforms.clear()
            raise
        except (EOFError, struct.error, TProtocolException, TTransportException, zlib.error) as error:
            self._write_transforms.clear()
            raise TApplicationException(TApplicationException.PROTOCOL_ERROR, f"header: {error}") from None
        if self._protocol_id not in PROTOCOLS:
            unknown, self._protocol_id = self._protocol_id, THeaderSubprotocolID.BINARY
            raise TApplicationException(TApplicationException.INVALID_PROTOCOL, f"header: unknown protocol {unknown}")
        message: bytes = self._read_buffer.getvalue()
        return message

    def _apply_read_transform(self, transform_id: int, payload: bytes) -> bytes:
        """Transform what came, and remember to do the same with the answer."""
        if self._write_transforms:
            raise TApplicationException(TApplicationException.INVALID_TRANSFORM, "header: more than one transform")
        self.add_transform(transform_id)
        transformed: bytes = super()._apply_read_transform(transform_id, payload)
        return transformed

    def wrap(self, message: bytes) -> bytes:
        """The frame that answers with `message`."""
        self._transport = TMemoryBuffer()
        self.write(message)
        self.flush()
        frame: bytes = self._transport.getvalue()
        return frame
