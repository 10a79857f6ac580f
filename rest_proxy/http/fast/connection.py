"""A connection on which whole small requests go the short way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from process.tracebacks import forget_frames
from rest_proxy.http.fast.heads import END, LARGEST, LINE, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from process.security.access import Visit
    from rest_proxy.http.fast.answer import AnswerWriter
    from rest_proxy.http.fast.direct import Client, Running
    from rest_proxy.http.fast.heads import Head, Heads
    from rest_proxy.http.fast.turns import Turns

_HOLD_S = 0.05
"""Seconds that the beginning of a request is kept for its rest. After them it goes the usual way, whose limits hold."""

_LATER_BYTES = 256 << 10
"""Bytes that may wait behind a request that is in progress, before the connection is not read any more."""

log = structlog.get_logger(__name__)


class ShortWay(Protocol):
    """What answers small requests, and what all connections share."""

    is_open: bool
    """Whether small requests go the short way just now."""
    heads: Heads
    turns: Turns
    writer: AnswerWriter

    start: Callable[[Head, bytes, Client], Running]
    """Begin to answer a request, whose body is given, and tell the connection when that is done."""


def _forget_end(task: asyncio.Task[None]) -> None:
    """A task that was cancelled keeps the frames in which it was until somebody asks; they have the task."""
    if task.cancelled():
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()


class FastConnection(web.RequestHandler):
    """aiohttp's connection, which is handed what does not go the short way.

    `_rest` says where aiohttp's parser stands: so many bytes before the end of a message; None where only it knows,
    and then nothing goes the short way any more.
    """

    def __init__(self, server: Any, *, short_way: ShortWay, **options: Any) -> None:
        super().__init__(server, **options)
        self._short_way = short_way
        self._turns, self._heads, self._writer = short_way.turns, short_way.heads, short_way.writer
        self._rest: int | None = 0
        self._held = b""
        self._hold_timer: asyncio.TimerHandle | None = None
        self._running: Running | None = None
        self._in_progress = False
        self._later = b""
        self._waits = False
        self._not_read = False
        self._output = b""
        self._drops = False
        self.last_visit: tuple[Head, Visit] | None = None

    # ----------------------------------------------------------------------------------------- called by the event loop

    def data_received(self, data: bytes) -> None:
        """Answer what came, or keep it until it can be."""
        if not data:  # from aiohttp: it looks again at what it keeps
            self._look_again()
            return
        if self._in_progress or self._waits:
            self._keep(data)
            return
        if self._held:
            data = self._held + data
            self._stop_holding()
        turns = self._turns
        while True:
            if not turns.take():
                self._waits = True
                turns.wait(self)
                self._keep(data)
                return
            if not self._is_free():
                break
            taken = self._take(data)
            if not taken:
                break
            if taken < 0 or taken == len(data):  # kept for its rest, or done with
                return
            data = data[taken:]
            if self._in_progress:
                self._keep(data)
                return
        self._usual_way(data)

    def _look_again(self) -> None:
        if not self._drops:
            super().data_received(b"")

    def go_on(self) -> None:
        """Look at what was kept."""
        self._waits = False
        if self._not_read and self.transport is not None:
            self._not_read = False
            self.transport.resume_reading()
        if self._later and not self._in_progress:
            later, self._later = self._later, b""
            self.data_received(later)

    def _keep(self, data: bytes) -> None:
        """Keep it for later, as long as that is not too much."""
        self._later += data
        if len(self._later) > _LATER_BYTES and not self._not_read and self.transport is not None:
            self._not_read = True
            self.transport.pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nobody waits for an answer any more."""
        self._stop_holding()
        running, self._running = self._running, None
        self._in_progress = False
        self._later = self._output = b""
        self.last_visit = None
        if running is not None:
            running.cancel()
        task = self._task_handler
        super().connection_lost(exc)
        self._messages.clear()  # of each that has come aiohttp keeps the body, which knows the connection
        if task is not None:
            task.add_done_callback(_forget_end)

    # ----------------------------------------------------------------------------------------------------- what came in

    def _is_free(self) -> bool:
        """Whether nothing is in progress, and the next byte is a request's first."""
        waiter = self._waiter
        return (
            self._rest == 0
            and self._short_way.is_open
            and waiter is not None
            and not waiter.done()
            and not self._messages
            and not (self._paused or self._close or self._force_close)
        )

    def _take(self, data: bytes) -> int:
        """How many bytes went the short way: none, or a whole request; -1 where they wait for their rest."""
        heads = self._heads
        end = data.find(END) + 4
        if end < 4:
            return self._hold(data) if heads.may_begin(data) else 0
        head = heads.head(data, end)
        if head is None:
            return 0
        size = head.size
        if size > len(data):
            return self._hold(data) if size <= LARGEST else 0
        if head.route is None:
            return 0
        self._in_progress = self._request_in_progress = True
        running = self._short_way.start(head, data[end:size], self)
        if self._in_progress:
            self._running = running
        return size

    def _hold(self, data: bytes) -> int:
        if len(data) > LARGEST:
            return 0
        self._held = data
        self._hold_timer = self._loop.call_later(_HOLD_S, self._held_long_enough)
        return -1

    def _held_long_enough(self) -> None:
        held = self._held
        self._stop_holding()
        self._usual_way(held)

    def _stop_holding(self) -> None:
        self._held = b""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None

    def _usual_way(self, data: bytes) -> None:
        """Hand `data` to aiohttp, and note where its parser stands then."""
        if self._drops:
            return
        if self._rest == 0:
            data = quoted(data)
        if self._rest is not None:
            self._rest = self._rest_after(data, self._rest)
        self.flush()
        super().data_received(data)
        self._end_at_an_error()

    def _end_at_an_error(self) -> None:
        """Bytes that are not HTTP are the last that is read: as an error they wait for their turn to be answered.

        It may never come, as when the connection is lost.
        """
        error = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if error is not None:
            forget_frames(error)
            self._drops = True

    def _rest_after(self, data: bytes, rest: int) -> int | None:
        if rest:
            return rest - len(data) if rest >= len(data) else None
        if not data:
            return 0
        line = LINE.match(data)
        end = data.find(END, line.end() - 2) if line else -1
        if line is None or end < 0:
            return None
        length = self._heads.block(data[line.end() : end + 4]).length
        if length is None or end + 4 + length < len(data):
            return None
        return end + 4 + length - len(data)

    # ---------------------------------------------------------------------------------------------------------- the end

    async def finish_response(self, request: web.BaseRequest, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Write the answer to a request that went the usual way.

        What may still come of its body is read for a while, so that the client gets to see the answer, but in chunks,
        which may be of a byte each, it is not parsed: then the connection ends after that while.
        """
        try:
            return await super().finish_response(request, *args)
        finally:
            self._drops |= not request.content.is_eof() and request.content_length is None

    def answered(self, response: Any, error: BaseException | None) -> None:
        """Write the answer soon, and go on with what came meanwhile."""
        answer = b""
        if self.transport is not None and self._in_progress:
            try:
                if error is not None:
                    raise error
                answer = self._writer.bytes_of(response)
            except Exception as fault:
                if not isinstance(fault, ConnectionError):
                    log.error("a request failed", exc_info=fault)
                self.force_close()
        self._write(answer)

    def answered_directly(self, headers: Mapping[str, str], request_id: str, body: bytes) -> None:
        """The same with an answer of which all is said."""
        self._write(self._writer.direct_bytes(headers, request_id, body))

    def _write(self, answer: bytes) -> None:
        """End the request that is in progress; without an answer where its connection is closed."""
        awaited = self._in_progress
        self._running = None
        self._in_progress = self._request_in_progress = False
        if answer and awaited and self.transport is not None:
            if not self._output:
                self._writer.flush_soon(self)
            self._output += answer
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._close or self._force_close:
            self.flush()
            if self.transport is not None:
                self.transport.close()
        elif awaited:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            if self._later or self._not_read:
                self.go_on()

    def flush(self) -> None:
        """Write the answers that are ready."""
        output, self._output = self._output, b""
        if output and self.transport is not None:
            self.transport.write(output)

    def _process_keepalive(self) -> None:
        if self._in_progress:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()
