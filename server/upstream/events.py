"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), from a server not trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.upstream.errors import AnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT_BYTES = 1 << 20
"""A token with its logprobs takes some kilobytes."""

_NAMES = (b"data", b"error")  # llama.cpp once wrote errors as a field of their own


class EventReader:
    """Bytes in, the data of events out. It keeps at most one event."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The data of each event that `part` ends. Raises AnswerError for one that is too long."""
        lines = (self._rest + part).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        self._require_room(len(self._rest))

    def end(self) -> Iterator[bytes]:
        """The data of the last event, where no empty line follows it."""
        yield from self._line(self._rest)
        yield from self._line(b"")
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            if self._data:
                yield self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data.clear()
                self._size = 0
            return
        name, _, value = line.partition(b":")
        if name in _NAMES:
            self._require_room(len(value))
            self._size += len(value)
            self._data.append(value.removeprefix(b" "))

    def _require_room(self, more: int) -> None:
        if self._size + more > MAX_EVENT_BYTES:
            raise AnswerError(f"an event of more than {MAX_EVENT_BYTES} bytes came")
