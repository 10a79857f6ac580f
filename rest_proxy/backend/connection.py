"""One Thrift connection of the proxy: calls out, replies in, in the same order.

Thrift has no way to cancel a call. A call whose caller is gone or whose deadline has passed is abandoned: its reply is
thrown away when it comes, the connection gets no new calls until then, and a connection that has nothing but abandoned
calls is closed at once, because that is the one sign by which a server learns that nobody waits any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from predictor.ttypes import PredictionError
from thrift.Thrift import TApplicationException

from process.security.visits import VISIT
from rest_proxy.backend.headers import with_token, without_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_proxy.backend.contract import Method

_MAX_SEQID = 0x7FFFFFFF


class ConnectionLost(Exception):  # noqa: N818 - an event, named as asyncio names it
    """A call got no answer. `sent` is false when it cannot have reached the server."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class DeadlinePassed(Exception):  # noqa: N818 - as above
    """The reply did not come in time."""


class _Call(NamedTuple):
    seqid: int
    method: Method
    reply: asyncio.Future[Any]


class Connection(asyncio.Protocol):
    """A pipelined connection. It takes calls before it is connected and sends them once it is.

    `on_idle(connection)` is called when the last reply has come, `on_lost(connection)` once, when it is gone for good.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_reply_bytes: int,
        on_idle: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._max_reply_bytes = max_reply_bytes
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._received = bytearray()
        self._calls: deque[_Call] = deque()
        self._seqid = 0
        self._paused = False
        self._lost = False

    @property
    def calls(self) -> int:
        """Calls in flight, abandoned ones included."""
        return len(self._calls)

    @property
    def usable(self) -> bool:
        """Whether a new call would be sent soon and not wait behind one that nobody waits for."""
        return not (self._lost or self._paused or any(call.reply.done() for call in self._calls))

    async def call(self, method: Method, arguments: tuple[Any, ...], deadline: float) -> Any:
        """The method's result, or what it raises.

        `deadline` is in the loop's time. Raises DeadlinePassed and ConnectionLost, and UnicodeEncodeError for
        arguments that cannot be sent.
        """
        reply = self._send(method, arguments)
        timer = self._loop.call_at(deadline, _expire, reply)
        try:
            return await reply
        except (asyncio.CancelledError, DeadlinePassed):
            self._close_when_unwanted()
            raise
        finally:
            timer.cancel()

    def _send(self, method: Method, arguments: tuple[Any, ...]) -> asyncio.Future[Any]:
        self._seqid = self._seqid % _MAX_SEQID + 1
        try:
            frame = method.encode(self._seqid, arguments)
            visit = VISIT.get()
            if visit is not None and visit.token is not None:
                frame = with_token(frame, self._seqid, visit.token)
        except Exception:
            if not self._calls:
                self._on_idle(self)
            raise
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._calls.append(_Call(self._seqid, method, reply))
        self._unsent.append(frame)
        if self._transport is not None and len(self._unsent) == 1:
            self._loop.call_soon(self._flush)  # calls made in one pass of the loop leave in one write
        return reply

    def _flush(self) -> None:
        if self._transport is not None and not self._lost:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self, reason: str = "closed") -> None:
        """Close it now; calls in flight are lost."""
        if self._lost:
            return
        self._lost = True
        calls, self._calls = self._calls, deque()
        for call in calls:
            if not call.reply.done():
                call.reply.set_exception(ConnectionLost(reason, sent=self._transport is not None))
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if self._lost:
            transport.abort()
            return
        self._transport = transport
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection broke: {exc}" if exc else "the server closed the connection")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start, end = 0, len(received)
        while end - start >= 4 and not self._lost:
            size = int.from_bytes(received[start : start + 4])
            if size > self._max_reply_bytes:
                self.close(f"an answer of {size} bytes is over max_reply_bytes = {self._max_reply_bytes}")
                return
            if end - start - 4 < size:
                break
            self._take_reply(bytes(received[start + 4 : start + 4 + size]))
            start += 4 + size
        del received[:start]

    def _take_reply(self, frame: bytes) -> None:
        if not self._calls:
            self.close("the server sent an answer that nobody asked for")
            return
        call = self._calls.popleft()
        frame = without_header(frame)
        if not call.reply.done():
            try:
                call.reply.set_result(call.method.decode(frame, call.seqid))
            except (PredictionError, TApplicationException) as error:
                call.reply.set_exception(error)
            except Exception as error:  # not Thrift, or the answer to another call: what follows cannot be trusted
                call.reply.set_exception(ConnectionLost(f"bad answer to {call.method.name}: {error}", sent=True))
                self.close(f"bad answer to {call.method.name}: {error}")
                return
        if self._calls:
            self._close_when_unwanted()
        else:
            self._on_idle(self)

    def _close_when_unwanted(self) -> None:
        if self._calls and all(call.reply.done() for call in self._calls):
            self.close("nobody waits for its calls")


def _expire(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(DeadlinePassed())
