"""Smart Reply without a server: one model, from messages to scored replies.

The server's workers share one, the Python API of package `smartreply` has one. The work is done in ext (the graph's
operators, segments, sums), without the GIL; what is here is opening a file, and what messages are taken.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ext import _smart_reply
from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_MESSAGE_BYTES = 1 << 17


class MessageError(ValueError):
    """A message cannot be taken; the text says why, for people."""


def open_file(path: Path) -> _smart_reply.ModelFile:
    """A .tflite file, read and checked.

    Raises ModelError, OSError.
    """
    with path.open("rb") as file:
        try:
            return _smart_reply.ModelFile.read(file.fileno())
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(str(error)) from None


def read_graph(file: _smart_reply.ModelFile) -> _smart_reply.Model:
    """Smart Reply's graph in a file. Raises ModelError."""
    try:
        return _smart_reply.Model(file)
    except (ValueError, MemoryError) as error:
        raise ModelError(str(error)) from None


class SmartReplyInterpreter:
    """A Smart Reply model. Any number of threads may ask it at a time. Replies come best first.

    `model` is a file, or its content. `max_message_bytes` is the longest message that is taken, in UTF-8. Raises
    ModelError when the model cannot be used, OSError when the file cannot be read.
    """

    def __init__(self, model: Path | str | bytes, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        if isinstance(model, bytes):
            self._model = read_graph(_copied(model))
            return
        try:
            self._model = read_graph(open_file(Path(model)))
        except ModelError as error:
            raise ModelError(f"{model}: {error}") from None

    def replies(self, message: str | bytes) -> dict[str, float]:
        """Reply -> score of one message. Raises MessageError."""
        return self.merged_replies([message])

    def replies_many(self, messages: Iterable[str | bytes]) -> list[dict[str, float]]:
        """The same for many, in their order; no message's replies depend on the others."""
        return self._model.separate_replies([self._encoded(message) for message in messages])

    def merged_replies(self, messages: Iterable[str | bytes]) -> dict[str, float]:
        """One map for a conversation: a reply that several messages suggest gets the sum of its scores."""
        return self._model.merged_replies([self._encoded(message) for message in messages])

    def _encoded(self, message: str | bytes) -> bytes:
        try:
            encoded = message if isinstance(message, bytes) else message.encode()
        except UnicodeEncodeError as error:
            raise MessageError(f"message: not valid Unicode: {error.reason} at character {error.start}") from None
        if len(encoded) > self._max_message_bytes:
            raise MessageError(
                f"message: {len(encoded)} bytes, more than the limit max_message_bytes of {self._max_message_bytes}"
            )
        return encoded


def best(replies: dict[str, float], max_replies: int | None, threshold: float | None) -> dict[str, float]:
    """At most `max_replies` of replies that come best first, with scores not below `threshold`. None: no limit."""
    kept = replies.items() if threshold is None else ((text, s) for text, s in replies.items() if s >= threshold)
    return dict(islice(kept, max_replies))


def _copied(content: bytes) -> _smart_reply.ModelFile:
    try:
        return _smart_reply.ModelFile.copied(content)
    except ValueError as error:
        raise ModelError(str(error)) from None
