"""Bytes -> messages -> arguments, for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from thrift.Thrift import TApplicationException

from server.errors import PredictionError, invalid_argument
from server.transport.codecs import BIG_ENDIAN_COMPACT, CALL, COMPACT, JSON, OLD, ONEWAY, STRICT, codec_of
from server.transport.detect import HEADER_MARK, ForeignBytesError, Framing, detect
from server.transport.frames import HeaderFrame, frame
from server.transport.scanners.binary import BinaryScanner
from server.transport.scanners.compact import CompactScanner
from server.transport.scanners.json import JsonScanner
from server.transport.scanners.scanner import message_too_large
from server.transport.visits import TOKEN_LINE, Visits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.transport.codecs import Codec, Envelope
    from server.transport.decoder import Decoder
    from server.transport.frames import Wrap
    from server.transport.limits import Limits
    from server.transport.methods import Answer, Method
    from server.transport.plain import PlainMessages
    from server.transport.scanners.scanner import Scanner

_SCANNERS: dict[Codec, type[Scanner | JsonScanner]] = {
    STRICT: BinaryScanner,
    OLD: BinaryScanner,
    COMPACT: CompactScanner,
    BIG_ENDIAN_COMPACT: CompactScanner,
    JSON: JsonScanner,
}

MORE = -1
"""Instead of a position: the message is not there completely."""


class StreamLostError(Exception):
    """A message was refused whose end cannot be found: nothing behind it can be read."""


class Receiver(Protocol):
    """Who gets what is read."""

    def call(self, method: Method, values: tuple[Any, ...], codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """A call to start."""

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """A message to answer with an error."""


class PlainReceiver(Receiver, Protocol):
    """Who gets plain calls as they are."""

    def call_plain(self, messages: PlainMessages, seqid: bytes, text: str, wrap: Wrap) -> bool:
        """A call to start; False where it is to be read as any other."""


class Reader:
    """Reads messages one by one, and keeps the part of a message whose rest is still coming.

    `partial` says whether there is such a part; as long as it is true, new data goes through `join`.
    """

    def __init__(self, methods: Mapping[bytes, Method], limits: Limits, decoder: Decoder, receiver: Receiver) -> None:
        self.take: Callable[[bytes, int], int] = self._take_first
        """take(data, position) -> where the message that begins at `position` ends, or MORE.

        Raises ForeignBytesError (no answer was given), StreamLostError (one was).
        """
        self.partial = False
        self._receiver = receiver
        self._plain: Mapping[int, tuple[PlainMessages, ...]] = {}
        self._plain_receiver: PlainReceiver
        self._methods = methods
        self._limits = limits
        self._decode = decoder.decode
        self._decode_exact = decoder.decode_exact
        self.visits = Visits()
        self._tail = bytearray()
        self._needed = 0
        self._scanner: Scanner | JsonScanner | None = None
        self._skipping = 0
        self.inflated = 0
        """Bytes that the last message has beyond those that came: it was compressed."""

    @property
    def kept(self) -> int:
        """Bytes that are kept of a message whose rest is still coming."""
        return len(self._tail)

    def give_up(self, error: Answer) -> bool:
        """Answer the message of which a part is kept with `error`, and forget it; its rest is skipped.

        False: where its rest ends is not known, or not whom to answer.
        """
        tail, self._tail = bytes(self._tail), bytearray()
        self._drop_scanner()
        is_framed = self.take == self._take_frame
        self._skipping = self._needed - len(tail) if is_framed else 0
        try:
            codec, envelope, wrap = self._oversized_envelope(tail, 4) if is_framed else self._envelope_of(tail)
        except ForeignBytesError:
            return False
        if envelope is not None:
            self._receiver.refuse(error, codec, envelope, wrap)
        self.partial = self._skipping > 0
        return self.partial and envelope is not None

    def _envelope_of(self, data: bytes) -> tuple[Codec, Envelope | None, Wrap]:
        codec = codec_of(data, 0)
        return codec, codec.envelope(data, 0, len(data)), None

    def close(self) -> None:
        """Nothing comes any more. Lets go of everything, also of the connection.

        They have each other: what is kept of a message would be kept until the garbage is collected.
        """
        self._drop_scanner()
        vars(self).clear()

    def _drop_scanner(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            scanner.close()

    def hand_on_plain(self, messages: Mapping[int, tuple[PlainMessages, ...]], receiver: PlainReceiver) -> None:
        """Hand these messages, which are found by their first byte, to the receiver of plain calls."""
        self._plain = messages
        self._plain_receiver = receiver

    def take_whole(self, message: bytes) -> None:
        """Take a message that came whole and without a frame. Raises ForeignBytesError when it is none."""
        if not message:
            raise ForeignBytesError("no message")
        if len(message) <= self._limits.message_bytes:
            self._take_exact(message, 0, len(message), None)
            return
        codec = codec_of(message, 0)
        envelope = codec.envelope(message, 0, len(message))
        if envelope is None:
            raise ForeignBytesError("bytes that are no Thrift message")
        self._receiver.refuse(message_too_large(len(message), self._limits), codec, envelope, None)

    # ----------------------------------------------------------------------------------------- messages in many pieces

    def keep(self, data: bytes, position: int) -> None:
        """Keep the part of a message that begins at `position`, after `take` said MORE."""
        self.partial = True
        self._tail += memoryview(data)[position:]
        if self._scanner is not None:
            self._scanner.move(self._tail)

    def join(self, data: bytes) -> bytes | None:
        """Add what came to what was kept; returns all of it when it makes sense to go on with `take`."""
        if self._skipping:
            skipped = min(self._skipping, len(data))
            self._skipping -= skipped
            self.partial = self._skipping > 0
            return data[skipped:]
        self._tail += data
        if self._scanner is None:
            if len(self._tail) < self._needed:
                return None
        elif not _advance(self._scanner):
            return None
        joined = bytes(self._tail)
        self._tail = bytearray()
        self._scanner = None
        self.partial = False
        return joined

    def _wait(self, size: int) -> int:
        """Say MORE until the message has `size` bytes."""
        self._needed = size
        return MORE

    # --------------------------------------------------------------------------------------------------- whole messages

    def _take_first(self, data: bytes, position: int) -> int:
        """Find out what is spoken; from then on that is what is taken."""
        if data[position : position + 1] == TOKEN_LINE[:1]:
            after = self.visits.take_line(data, position)
            if after is not None:
                return after or self._wait(len(data) - position + 1)
        framing = detect(data[position : position + 16])
        if framing is None:
            return self._wait(len(data) - position + 1)
        self.take = self._take_frame if framing is Framing.FRAMED else self._take_unframed
        return self.take(data, position)

    def _take_frame(self, data: bytes, position: int) -> int:
        """Take a message whose length comes before it."""
        start = position + 4
        if len(data) <= start:
            return self._wait(5)
        length = int.from_bytes(data[position:start], "big")
        end = start + length
        if length > self._limits.message_bytes:
            return self._take_oversized(data, start, length)
        if end > len(data):
            return self._wait(4 + length)
        if data[start] == HEADER_MARK:
            self._open_header(data[position:end])
        elif self._take_plain(data, start, end, frame) < 0:
            self._take_exact(data, start, end, frame)
        return end

    def _take_plain(self, data: bytes, start: int, end: int, wrap: Wrap) -> int:
        """Where the plain call ends that begins at `start`; -1 where there is none. In a frame it ends at `end`."""
        for messages in self._plain.get(data[start], ()):
            found = messages.read(data, start) if end - start <= messages.most else None
            if found is None or (found[2] != end and wrap is not None):
                continue
            try:
                text = str(found[1], "utf-8")
            except UnicodeDecodeError:
                return -1
            return found[2] if self._plain_receiver.call_plain(messages, found[0], text, wrap) else -1
        return -1

    def _take_exact(self, data: bytes, start: int, end: int, wrap: Wrap) -> None:
        """Take the message between `start` and `end`."""
        codec = codec_of(data, start) if start < end else STRICT
        envelope = codec.envelope(data, start, end)
        if envelope is None:
            raise ForeignBytesError("a frame without a Thrift message")
        name, kind, _, body = envelope
        method = self._methods.get(name)
        if method is not None and kind in (CALL, ONEWAY):
            found = self._decode_exact(codec, method, data, body)
            if found is not None and found[1] == end:
                self._start(method, found[0], codec, envelope, wrap)
                return
        scanner = _SCANNERS[codec](data, start, body, end, _spec(method), self._limits)
        try:
            scanner.advance()
            if scanner.position != end:
                raise invalid_argument(f"{end - scanner.position} bytes are left over at the message's end")
        except PredictionError as error:
            self._receiver.refuse(error, codec, envelope, wrap)
        else:
            self._take_scanned(method, data, codec, envelope, end, wrap)

    def _take_unframed(self, data: bytes, position: int) -> int:
        """Take a message that says nowhere how long it is."""
        after = self._take_plain(data, position, len(data), None)
        if after >= 0:
            return after
        codec = codec_of(data, position)
        envelope = codec.envelope(data, position, len(data))
        if envelope is None:
            return self._wait(len(data) - position + 1)
        name, kind, _, body = envelope
        method = self._methods.get(name)
        if method is not None and kind in (CALL, ONEWAY):
            found = self._decode_exact(codec, method, data, body)
            if found is not None and found[1] - position <= self._limits.message_bytes:
                self._start(method, found[0], codec, envelope, None)
                return found[1]
        scanner = _SCANNERS[codec](data, position, body, None, _spec(method), self._limits)
        try:
            whole = scanner.advance()
        except PredictionError as error:
            self._receiver.refuse(error, codec, envelope, None)
            raise StreamLostError(error.message) from None
        if not whole:
            self._scanner = scanner
            return MORE
        self._take_scanned(method, data, codec, envelope, scanner.position, None)
        return scanner.position

    def _take_oversized(self, data: bytes, start: int, length: int) -> int:
        """Answer a frame over the limit as soon as its envelope is there; the rest of it is skipped."""
        codec, envelope, wrap = self._oversized_envelope(data, start)
        if envelope is None:
            return self._wait(len(data) - start + 5)
        error = message_too_large(length, self._limits)
        self._receiver.refuse(error, codec, envelope, wrap)
        if length > self._limits.discard_bytes:
            raise StreamLostError(error.message)
        there = min(length, len(data) - start)
        self._skipping = length - there
        self.partial = self._skipping > 0
        return start + there

    def _oversized_envelope(self, data: bytes, start: int) -> tuple[Codec, Envelope | None, Wrap]:
        """Codec, envelope and wrap to answer the frame from `start` on with; no envelope: more bytes are needed."""
        if data[start] != HEADER_MARK:
            codec = codec_of(data, start)
            return codec, codec.envelope(data, start, len(data)), frame
        header = HeaderFrame(self._limits)  # whatever is inside it, its own sequence id can be answered
        seqid = data[start + 4 : start + 8]
        header.sequence_id = int.from_bytes(seqid, "big", signed=True)
        return STRICT, (b"", CALL, seqid, 0) if len(seqid) == 4 else None, header.wrap

    def _open_header(self, data: bytes) -> None:
        """Take the message in a frame that has a header."""
        header = HeaderFrame(self._limits)
        try:
            message = header.unwrap(data)
        except TApplicationException as error:
            seqid = header.sequence_id.to_bytes(4, "big", signed=True)
            self._receiver.refuse(error, STRICT, (b"", CALL, seqid, 0), header.wrap)
        else:
            self.inflated = max(0, len(message) - len(data))
            usual = self.visits.enter(header.get_headers())
            self._take_exact(message, 0, len(message), header.wrap)
            if usual is not None:
                self.visits.now = usual

    # ---------------------------------------------------------------------------------------------------------- calls

    def _take_scanned(
        self, method: Method | None, data: bytes, codec: Codec, envelope: Envelope, end: int, wrap: Wrap
    ) -> None:
        """Hand on a message that a scanner found nothing wrong with."""
        name, kind, _, body = envelope
        error: Answer
        if kind not in (CALL, ONEWAY):
            error = TApplicationException(
                TApplicationException.INVALID_MESSAGE_TYPE, f"message type {kind} is no call (1) and no oneway call (4)"
            )
        elif method is None:
            text = f"unknown method {name.decode(errors='replace')}"
            error = TApplicationException(TApplicationException.UNKNOWN_METHOD, text)
        else:
            try:
                arguments = self._decode(codec, method, data, body, end)
            except PredictionError as fault:
                error = fault
            else:
                self._start(method, arguments, codec, envelope, wrap)
                return
        self._receiver.refuse(error, codec, envelope, wrap)

    def _start(self, method: Method, arguments: Any, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """Hand on a call whose arguments are decoded."""
        try:
            values = method.values(arguments)
        except PredictionError as error:
            self._receiver.refuse(error, codec, envelope, wrap)
        else:
            self._receiver.call(method, values, codec, envelope, wrap)


def _advance(scanner: Scanner | JsonScanner) -> bool:
    """Whether it makes sense to look at the scanned message again: it is whole, or something is wrong with it."""
    try:
        return scanner.advance()
    except PredictionError:
        return True  # from the message's beginning `take` finds the same error, and the envelope to answer


def _spec(method: Method | None) -> Any:
    """What a scanner has to know about a method's arguments."""
    return None if method is None else method.argument_types[1]
