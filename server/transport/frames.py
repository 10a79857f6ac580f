"""What may stand around a message: its length, or a header too (THeader).

A header says which protocol is inside and how it is transformed, and carries key-value pairs. The thrift package reads
and writes headers; here a frame is answered in the form in which it came.

Format: thrift/doc/specs/HeaderFormat.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from thrift.Thrift import TApplicationException
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID, THeaderTransport
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from server.config import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.transport.limits import Limits

    Wrap = Callable[[bytes], bytes] | None
    """Puts a message into its frame; None where there are no frames."""

_FIXED = 14  # bytes before what varies: two lengths, magic, flags, sequence id
_MAX_BYTES = 1 << 14  # of what varies: transforms and key-value pairs, which Python reads one by one

_ALWAYS_INFLATED = 1 << 20
"""Bytes to which a message may grow, however small it came: to inflate so many takes some milliseconds."""

_JSON = 1
"""Of the JSON protocol in C++ (T_JSON_PROTOCOL); the thrift package has no name for it."""

PROTOCOLS = (THeaderSubprotocolID.BINARY, _JSON, THeaderSubprotocolID.COMPACT)


def frame(message: bytes) -> bytes:
    """Put a message's length before it."""
    return len(message).to_bytes(4, "big") + message


class HeaderFrame(THeaderTransport):  # type: ignore[misc]  # the thrift package has no annotations
    """One frame with a header, and the way back for its answer."""

    _protocol_id: int

    def __init__(self, limits: Limits) -> None:
        super().__init__(TMemoryBuffer(), (THeaderClientType.HEADERS,))
        self._limits = limits
        self.set_max_frame_size(MAX_BYTES - 1)

    def unwrap(self, frame: bytes) -> bytes:
        """The message in `frame`, which begins with its length. Raises TApplicationException when there is none."""
        try:
            message = self._read(frame)
        except TApplicationException:
            self._write_transforms.clear()
            raise
        except Exception as error:  # of bytes that are none, the package raises whatever comes of them
            self._write_transforms.clear()
            reason = str(error) or "it ends too early"
            raise TApplicationException(TApplicationException.PROTOCOL_ERROR, f"header: {reason}") from None
        if self._protocol_id not in PROTOCOLS:
            unknown, self._protocol_id = self._protocol_id, THeaderSubprotocolID.BINARY
            raise TApplicationException(TApplicationException.INVALID_PROTOCOL, f"header: unknown protocol {unknown}")
        return message

    def _read(self, frame: bytes) -> bytes:
        """The package gets the header alone: it would look for more of it in the message."""
        if len(frame) < _FIXED:
            raise ValueError("the frame ends within it")
        self.sequence_id, words = struct.unpack_from("!iH", frame, _FIXED - 6)
        end = _FIXED + 4 * words
        if end > len(frame):
            raise ValueError("it is longer than the frame")
        if 4 * words > _MAX_BYTES:
            raise ValueError(f"it has {4 * words} bytes; at most {_MAX_BYTES} are taken")
        self._transport = TMemoryBuffer(struct.pack("!I", end - 4) + frame[4:end])
        self.readFrame(0)
        message = frame[end:]
        if not self._write_transforms:
            return message
        limits = self._limits
        most = max(_ALWAYS_INFLATED, limits.inflate_ratio * len(message))
        self.set_max_decompressed_size(min(most, limits.message_bytes))
        try:
            for transform in self._write_transforms:
                message = super()._apply_read_transform(transform, message)
        except TTransportException as error:
            if error.type != TTransportException.SIZE_LIMIT:
                raise
            if most < limits.message_bytes:
                reason = f"the message grows to over {most} bytes, {limits.inflate_ratio} times its size or 1 MiB"
                raise ValueError(f"{reason} (setting inflate_ratio)") from None
            raise ValueError(
                f"the message grows to over {limits.message_bytes} bytes (setting message_bytes)"
            ) from None
        return message

    def _apply_read_transform(self, transform_id: int, payload: bytes) -> bytes:
        """Remember to do with the message and its answer what the header names."""
        if self._write_transforms:
            raise TApplicationException(TApplicationException.INVALID_TRANSFORM, "header: more than one transform")
        self.add_transform(transform_id)
        return payload

    def wrap(self, message: bytes) -> bytes:
        """The frame that answers with `message`."""
        self._transport = TMemoryBuffer()
        self.write(message)
        self.flush()
        frame: bytes = self._transport.getvalue()
        return frame
