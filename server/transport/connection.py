"""One client's connection: bytes in, calls, bytes out."""

from __future__ import annotations

import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections import deque
from typing import TYPE_CHECKING, Any

from server.calls import drive
from server.transport.detect import ForeignBytesError
from server.transport.exchange import Exchange
from server.transport.reader import MORE, Reader, StreamLostError

if TYPE_CHECKING:
    from server.transport.codecs import Codec, Envelope
    from server.transport.endpoint import Endpoint
    from server.transport.methods import Answer, Method
    from server.transport.reader import Wrap

_LAST_LOOKS_S = 2.0
"""Seconds for which a draining connection, when it is read again after a pause, also answers what came meanwhile.

What a peer sent while it was not read lies partly in the peer's own buffers. It comes when there is room for it.
"""

_LINGER_S = 0.1
"""Seconds for which a drained connection is kept after its end was announced, so that its last answers arrive."""


class Connection(asyncio.Protocol):
    """Starts the calls that its reader finds, and writes their answers in the order in which they came.

    While too many calls are in progress, or the peer does not read its answers, complete messages wait in `_held`.
    After the last message that will be answered (`_ending`), what comes is thrown away. When it drains, that is what
    came later than the order to: a client that sends on as long as it gets answers would never be done otherwise.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # there from connection_made on
        self._reader = Reader(endpoint, self)
        self._most_calls = endpoint.limits.pipelined_calls
        self._loop = asyncio.get_running_loop()
        self._exchanges: deque[Exchange] = deque()
        self._output: list[bytes] = []
        self._held: tuple[bytes, int] | None = None
        self._peer_reads = True
        self._paused = False
        self._draining = False
        self._due = 0  # bytes that had come in time, but were not read yet, when it was last looked at
        self._last_look: float | None = None
        self._ending = False
        self._discarded = 0
        self._messages = 0
        self._seen: tuple[int, bool, bool] = (0, False, False)
        self._since = self._loop.time()

    # ----------------------------------------------------------------------------------------- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note a new connection, or close it when there are too many."""
        self._transport = transport  # type: ignore[assignment]  # of TCP: asyncio.Transport
        if not self._endpoint.admit(self):
            self._transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the calls in progress: nobody waits for them any more."""
        self._ending = True
        self._held = None
        self._output.clear()
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            if exchange.call is not None:
                self._endpoint.counters.abandoned_calls += 1
                exchange.abandon()
        self._endpoint.dismiss(self)

    def pause_writing(self) -> None:
        """The peer does not read its answers: start no more calls for it."""
        self._peer_reads = False

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._peer_reads = True
        self._resume()

    def data_received(self, data: bytes) -> None:
        """Start the calls whose messages are complete."""
        if self._draining and not self._ending:
            data = self._in_time(data)
        if self._ending:
            self._discard(len(data))
        elif self._held is not None:
            held, position = self._held
            self._held = held[position:] + data, 0
        elif self._reader.partial:
            joined = self._reader.join(data)
            if joined is not None:
                self._read(joined, 0)
        else:
            self._read(data, 0)
        if self._draining and not self._ending:
            self._finish()

    # ------------------------------------------------------------------------------------------------------ calls begin

    def _read(self, data: bytes, position: int) -> None:
        """Take message after message from `data` while there is a whole one and calls may be started."""
        size = len(data)
        try:
            while position < size:
                if len(self._exchanges) + len(self._output) >= self._most_calls or not self._peer_reads:
                    self._held = data, position
                    self._pause()
                    return
                after = self._reader.take(data, position)
                if after == MORE:
                    self._reader.keep(data, position)
                    return
                self._messages += 1
                position = after
        except ForeignBytesError as error:
            self._endpoint.counters.bad_messages += 1
            first_bytes = data[position : position + 16].hex(" ")
            self._endpoint.log.warning(str(error), peer=self.peer(), first_bytes=first_bytes)
            self._end()
        except StreamLostError as error:
            self._endpoint.log.warning("connection closed after a refused message", peer=self.peer(), reason=str(error))
            self._end()
        except Exception:  # a fault of ours: where the next message begins is not known
            self._endpoint.log.error("connection failed", peer=self.peer(), exc_info=True)
            self._transport.abort()

    def call(self, method: Method, values: tuple[Any, ...], codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """Start a call."""
        exchange = Exchange(method, codec, envelope, wrap, self._answered, self._endpoint.log)
        self._exchanges.append(exchange)
        self._endpoint.counters.calls += 1
        call = drive(method.handler(*values), exchange.finish)
        if not exchange.answered:
            exchange.call = call

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """Answer a message with an error, in its turn."""
        self._endpoint.counters.bad_messages += 1
        method = self._endpoint.methods.get(envelope[0])
        exchange = Exchange(method, codec, envelope, wrap, self._answered, self._endpoint.log)
        self._exchanges.append(exchange)
        exchange.finish(None, error)

    # -------------------------------------------------------------------------------------------------------- calls end

    def _answered(self, exchange: Exchange) -> None:
        """Write the answers whose turn it is, now that `exchange` has one."""
        exchanges = self._exchanges
        if not exchanges or exchanges[0] is not exchange:
            return
        output = self._output
        if not output:
            self._endpoint.flush_soon(self)
        while exchanges and exchanges[0].answered:
            output.append(exchanges.popleft().answer)

    def flush(self) -> None:
        """Send the answers gathered, in one piece, and go on with what waited for that."""
        output, self._output = self._output, []
        if output:  # it is not, if the connection was lost meanwhile
            self._transport.write(output[0] if len(output) == 1 else b"".join(output))
        if self._held is not None:
            self._resume()
        elif self._ending or self._draining:
            self._finish()

    def _resume(self) -> None:
        """Go on with the messages that had to wait, and then with reading."""
        if self._held is not None and self._peer_reads:
            (data, position), self._held = self._held, None
            self._read(data, position)
        if self._held is None and self._paused:
            self._paused = False
            self._transport.resume_reading()
            if self._draining:
                self._look_again()
        if self._draining:
            self._finish()

    def _pause(self) -> None:
        """Read no more until calls have ended, or the peer reads."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # ---------------------------------------------------------------------------------------------------------- the end

    def drain(self) -> None:
        """Close once the messages that have come are answered."""
        self._draining = True
        self._due = self._unread()
        self._finish()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _end(self) -> None:
        """Read no more messages. Close once the calls in progress are answered."""
        self._ending = True
        self._held = None
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._finish()

    def _finish(self) -> None:
        """Announce the end when nothing is left to answer, now that no more calls are wanted.

        Closing with bytes unread would make the system reset the connection, and answers could be lost. So the peer is
        told that this is the end, and what it still sends is thrown away, until it closes too or its time is over.
        """
        waiting = self._exchanges or self._output or self._held is not None or (self._due and not self._ending)
        if waiting or self._transport.is_closing():
            return
        self._ending = True
        self._transport.write_eof()
        if self._draining:
            self._loop.call_later(_LINGER_S, self._transport.close)

    def _unread(self) -> int:
        """Bytes that have come and were not read."""
        socket_fd = self._transport.get_extra_info("socket").fileno()
        (size,) = struct.unpack("i", fcntl.ioctl(socket_fd, termios.FIONREAD, bytes(4)))
        return int(size)

    def _look_again(self) -> None:
        """Count what came while the draining connection was not being read as in time, but not without end."""
        now = self._loop.time()
        if self._last_look is None:
            self._last_look = now + _LAST_LOOKS_S
        if now < self._last_look:
            self._due = self._unread()

    def _in_time(self, data: bytes) -> bytes:
        """What of `data` had come when draining began. The rest is thrown away."""
        in_time = data[: self._due]
        self._due -= len(in_time)
        self._discard(len(data) - len(in_time))
        return in_time

    def _discard(self, size: int) -> None:
        """Throw away what comes after the end, within limits."""
        self._discarded += size
        if self._discarded > self._endpoint.limits.discard_bytes:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """Close the connection when it has been silent, or a message half sent, for too long. `now` is loop time.

        And when it is paused and the peer has gone, of which only reading would tell otherwise.
        """
        if self._paused and not self._draining and self._peer_has_gone():
            self._transport.abort()
            return
        limits = self._endpoint.limits
        partial = self._reader.partial and not self._paused
        state = (self._messages, partial, bool(self._exchanges))
        if state != self._seen or (self._exchanges and not partial):
            self._seen = state
            self._since = now
            return
        silent_s = now - self._since
        if self._ending:
            if silent_s >= limits.message_s:
                self._transport.abort()
        elif partial and silent_s >= limits.message_s:
            self._endpoint.counters.closed_idle += 1
            self._endpoint.log.warning(
                f"connection closed: the rest of a message did not come in {limits.message_s} s (setting message_s)",
                peer=self.peer(),
            )
            self._transport.abort()
        elif not partial and silent_s >= limits.idle_s:
            self._endpoint.counters.closed_idle += 1
            self._transport.abort()

    def _peer_has_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def peer(self) -> str:
        """The client's address, for the log."""
        name = self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if name else "unknown"
