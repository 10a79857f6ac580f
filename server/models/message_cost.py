"""What messages cost in a queue, and how long they may be: the same for every model that reads them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ModelLimits

from server.errors import ModelError, too_large

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config import Settings

BYTES_OF_TOKEN = 16  # about three words: then a batch holds as much work as one of a classifier's


class MessageCost:
    """Bytes and tokens of messages that are answered together, as if they were one, parted by a byte each."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes = settings.max_message_bytes
        self._queue = settings.of_engine("messages")
        self.max_tokens = _tokens(self._max_bytes)
        if settings.queue_tokens < self.max_tokens:
            raise ModelError(
                f"a message of max_message_bytes ({self._max_bytes}) costs {self.max_tokens} tokens, more than the "
                f"setting queue_tokens ({settings.queue_tokens}): lower the one or raise the other"
            )

    def tokens_of(self, messages: Sequence[str]) -> int:
        """1 + bytes / 16. Raises TOO_LARGE."""
        size = sum(map(_bytes, messages)) + max(len(messages) - 1, 0)
        if size > self._max_bytes:
            have = "the message has" if len(messages) == 1 else "the messages of a conversation together have"
            raise too_large(f"{have} {size} bytes, over the limit of {self._max_bytes}", setting="max_message_bytes")
        return _tokens(size)

    def tokens_in(self, size: int, field: str | None = None) -> int:
        """The same of so many bytes of a conversation. Raises TOO_LARGE."""
        if size > self._max_bytes:
            what = f"{size} bytes, over the limit of {self._max_bytes}"
            raise too_large(what, field=field, setting="max_message_bytes")
        return _tokens(size)

    def queue_settings(self) -> dict[str, Any]:
        """For a queue of ext. Nothing is padded: messages of any lengths may share a batch."""
        return self._queue | {"max_tokens": self.max_tokens, "free_padding": (1 << 32) - 1}

    def limits(self) -> ModelLimits:
        """For clients."""
        names = ("queue_items", "queue_tokens", "batch_items", "batch_tokens")
        return ModelLimits(
            max_tokens=self.max_tokens, max_output_tokens=0, **{name: self._queue[name] for name in names}
        )


def _bytes(message: str) -> int:
    return len(message) if message.isascii() else len(message.encode())


def _tokens(size: int) -> int:
    return 1 + size // BYTES_OF_TOKEN
