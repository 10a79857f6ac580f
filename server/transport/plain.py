"""Calls of one text without options, as most are: from their bytes to the answer's without decoding and encoding.

What such a call looks like is known to the byte; whatever looks different goes the usual way. Of its answer all bytes
are known before but for the numbers, which the model's thread puts in.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import TYPE_CHECKING, Any

from server.calls import PlainCall
from server.transport.codecs import CALL, COMPACT, STRICT
from server.transport.detect import BINARY_MARK, COMPACT_MARK
from server.transport.exchange import Exchange
from server.transport.held import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from server.calls import PlainMethod
    from server.transport.codecs import Codec
    from server.transport.frames import Wrap
    from server.transport.limits import Limits
    from server.transport.methods import Method

_SAMPLE = 1.9237498e-281
"""A score whose bytes are found in no label."""

_TEXT, _STOP = b"\x0b\x00\x01", 0
"""Before a text that is the first field of a struct, in the binary protocol; and behind the last field, in any."""

_COMPACT_TEXT = 0x18

_FRAME_BYTES = 4

_AFTER_NAME = Struct(">4s3sI").unpack_from
"""The sequence id, what _TEXT should be, and the text's size."""

Found = tuple[bytes, bytes, int]
"""The sequence id, the text, and where the message ends."""


class PlainMessages:
    """Those of a method in the strict binary protocol."""

    codec: Codec = STRICT
    big_endian = True

    def __init__(self, method: Method, plain: PlainMethod, limits: Limits) -> None:
        self.method = method
        self.plain = plain
        self._name = method.name
        self._begins_with = self.codec.frame(method.name, CALL)[0]
        self._size = len(self._begins_with)
        self.most = min(SMALL_BYTES - _FRAME_BYTES, limits.string_bytes, limits.message_bytes)
        """Bytes of a message without its frame, at most: those of larger ones are counted while their calls run."""
        self.before, self.after = method.envelope(self.codec)

    def read(self, data: bytes, start: int) -> Found | None:
        """The message that begins at `start`; None where it is another, or not there as a whole."""
        at = start + self._size
        if len(data) < at + 12 or not data.startswith(self._begins_with, start):
            return None
        seqid, field, size = _AFTER_NAME(data, at)
        end = at + 12 + size
        if field != _TEXT or end > len(data) or data[end - 1] != _STOP:
            return None
        return seqid, data[at + 11 : end - 1], end

    def around(self, labels: Sequence[str]) -> tuple[list[bytes], bool] | None:
        """See server.models.requests.Answer."""
        try:
            message = self.method.reply(self.codec, b"", dict.fromkeys(labels, _SAMPLE))
        except Exception:  # too long, for one; then it is for the usual way to say so
            return None
        around = message[len(self.before) + len(self.after) :].split(pack(">d" if self.big_endian else "<d", _SAMPLE))
        return (around, self.big_endian) if len(around) == len(labels) + 1 else None


class CompactPlainMessages(PlainMessages):
    """In the compact protocol, whose texts are shorter than 128 bytes here."""

    codec = COMPACT
    big_endian = False

    def read(self, data: bytes, start: int) -> Found | None:
        """See PlainMessages."""
        if not data.startswith(self._begins_with, start):
            return None
        envelope = self.codec.envelope(data, start, len(data))
        if envelope is None or envelope[0] != self._name:
            return None
        _, _, seqid, body = envelope
        if len(data) < body + 3 or data[body] != _COMPACT_TEXT:
            return None
        size = data[body + 1]
        end = body + 3 + size
        if size >= 0x80 or end > len(data) or data[end - 1] != _STOP:
            return None
        return seqid, data[body + 2 : end - 1], end


def plain_messages(
    methods: Iterable[Method], handler: object, limits: Limits
) -> Mapping[int, tuple[PlainMessages, ...]]:
    """First byte -> messages that begin with it, of the methods for which the handler's `plain` has something."""
    plain: Mapping[str, PlainMethod] = getattr(handler, "plain", {})
    found = [(method, plain[method.method]) for method in methods if method.method in plain]
    return {
        mark: tuple(kind(method, its, limits) for method, its in found)
        for mark, kind in ((BINARY_MARK, PlainMessages), (COMPACT_MARK, CompactPlainMessages))
    }


class PlainExchange(PlainCall):
    """A call in progress, among a connection's Exchanges."""

    __slots__ = (
        "_log",
        "_messages",
        "_on_answer",
        "_seqid",
        "_wrap",
        "answer",
        "answered",
        "engine",
        "id",
        "model",
        "size",
    )

    def __init__(
        self, messages: PlainMessages, seqid: bytes, wrap: Wrap, on_answer: Callable[[Any], object], log: Any
    ) -> None:
        self.answer = b""
        self.answered = False
        self.size = 0
        self._messages = messages
        self._seqid = seqid
        self._wrap = wrap
        self._on_answer = on_answer
        self._log = log

    def resolve(self, value: Any) -> None:
        """See PlainCall."""
        messages = self._messages
        if value.__class__ is bytes:
            message = b"".join((messages.before, self._seqid, messages.after, value))
            self.answer = message if self._wrap is None else self._wrap(message)
            self.answered = True
            self._on_answer(self)
            return
        try:
            scores = messages.plain.checked(self, value)
        except Exception as error:
            self._end(None, error)
        else:
            self._end(scores, None)

    def fail(self, error: Exception) -> None:
        """See PlainCall."""
        self._end(None, self._messages.plain.explained(error, timeout_named=False))

    def _end(self, value: Any, error: BaseException | None) -> None:
        """As a call ends that went the usual way."""
        messages = self._messages
        envelope = (messages.method.name, CALL, self._seqid, 0)
        usual = Exchange(messages.method, messages.codec, envelope, self._wrap, self._take, self._log)
        if error is not None:
            usual.refuse(error)
        else:
            usual.answer_with(value)

    def _take(self, usual: Exchange) -> None:
        self.answer = usual.answer
        self.answered = True
        self._on_answer(self)

    @property
    def runs(self) -> bool:
        """Whether it has begun and not ended."""
        return not self.answered

    def abandon(self) -> None:
        """Stop the call; nobody waits for its answer any more."""
        self.leave_engine()
