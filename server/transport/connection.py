"""One client's connection: bytes in, calls, bytes out."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from process.security.addresses import address_of, counted
from server.clients import CALLING, Client, owner_of
from server.errors import over_rate, overloaded
from server.transport.detect import ForeignBytesError
from server.transport.drain import Drain
from server.transport.exchange import Exchange
from server.transport.flow_control import FlowControl
from server.transport.held import LARGE_BYTES, SMALL_BYTES
from server.transport.idle_watch import IdleWatch, Overdue
from server.transport.plain import PlainExchange
from server.transport.reader import MORE, Reader, StreamLostError
from server.transport.turn_away import PATIENCE_S, TurnAway
from server.transport.visits import TOKEN_LINE

if TYPE_CHECKING:
    from process.security.access import Grant
    from server.transport.codecs import Codec, Envelope
    from server.transport.endpoint import Endpoint
    from server.transport.frames import Wrap
    from server.transport.methods import Answer, Method
    from server.transport.plain import PlainMessages

_TURN_S = 0.002
"""Seconds for which one connection's messages are read without a look at the others'."""

_RETRY_MS = 1000


class Connection(asyncio.Protocol):
    """Starts the calls that its reader finds, and writes their answers in the order in which they came."""

    _transport: asyncio.Transport  # this and the next two are there from connection_made on
    _flow: FlowControl
    _drain: Drain
    address: str | None

    proxied_peer: tuple[str, int] | None = None
    """The client's address, where a load balancer has told it (PROXY protocol)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._reader = Reader(endpoint.methods, endpoint.limits, endpoint.decoder, self)
        self._reader.hand_on_plain(endpoint.plain, self)
        self._visits = self._reader.visits
        self._max_calls = endpoint.limits.pipelined_calls
        self._max_bytes = endpoint.limits.call_bytes
        self._loop = asyncio.get_running_loop()
        self._exchanges: deque[Exchange | PlainExchange] = deque()
        self._output: list[bytes] = []
        self._messages = 0
        self._bytes = 0  # of messages of calls in progress, small ones aside
        self._reading = 0  # bytes of what is being read
        self._partial = 0  # bytes of a message of which a part has come
        self._turn_ends = 0.0
        self._newest: Exchange | None = None  # of the message that was read last
        self._client: Client | None = None
        self._grant: Grant | None = None  # of the last plain call, and whose call that was:
        self._granted: Client
        self._clients_by_token: dict[str, Client] = {}
        self._idle_watch = IdleWatch(endpoint.limits, asyncio.get_running_loop().time())

    # ----------------------------------------------------------------------------------------- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note a new connection; when there are too many, let it ask once and tell it so."""
        self._transport = transport  # type: ignore[assignment]  # of TCP: asyncio.Transport
        self.address = address_of(transport)
        self._flow = FlowControl(self._transport)
        self._drain = Drain(self._transport, self._endpoint.limits.discard_bytes)
        if self._endpoint.gate is not None:
            self._visits.open(self._endpoint.gate, self._transport)
        if not self._endpoint.admit(self):
            self._turn_away()
        opened = transport.get_extra_info("socket")
        if opened.family != socket.AF_UNIX:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _turn_away(self) -> None:
        """Close it, soon: after an answer to its first call, or at once where many are turned away already."""
        endpoint = self._endpoint
        if not endpoint.turn_away(self):
            self._transport.abort()
            return
        receiver = TurnAway(self, endpoint.limits.connections)
        self._reader.close()
        self._reader = Reader(endpoint.methods, endpoint.limits, endpoint.decoder, receiver)
        asyncio.get_running_loop().call_later(PATIENCE_S, self._transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the calls in progress: nobody waits for them any more."""
        self._drain.end()
        self._flow.drop_held()
        self._output.clear()
        self._newest = None
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            if exchange.runs:
                self._endpoint.counters.abandoned_calls += 1
                exchange.abandon()
        held = self._endpoint.held
        held.calls(-self._bytes)
        held.part(self, self._partial, 0)
        self._bytes = self._partial = 0
        if self._client is not None:
            self._client.leave_for_good()
        for client in self._clients_by_token.values():
            client.leave_for_good()
        self._endpoint.dismiss(self)
        self._reader.close()

    def pause_writing(self) -> None:
        """The peer does not read its answers: start no more calls for it."""
        self._flow.peer_reads = False

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._flow.peer_reads = True
        self._resume()

    def data_received(self, data: bytes) -> None:
        """Start the calls whose messages are complete."""
        drain = self._drain
        if drain.active:
            data = drain.in_time(data)
            if drain.ended:
                return
        if self._flow.held is not None:
            self._flow.hold_more(data)
        elif self._reader.partial:
            joined = self._reader.join(data)
            self._note_part()
            if joined is not None:
                self._read(joined, 0)
        else:
            self._read(data, 0)
        if drain.active:
            self._finish()

    # ------------------------------------------------------------------------------------------------------ calls begin

    def _read(self, data: bytes, position: int) -> None:
        """Take message after message from `data` while there is a whole one and calls may be started."""
        size = len(data)
        self._reading = size - position
        flow = self._flow
        self._turn_ends = 0.0
        try:
            while position < size:
                calls = len(self._exchanges) + len(self._output)
                if calls >= self._max_calls or self._bytes > self._max_bytes or not flow.peer_reads:
                    flow.hold(data, position)
                    return
                after = self._reader.take(data, position)
                if after == MORE:
                    self._reader.keep(data, position)
                    self._note_part()
                    return
                self._messages += 1
                if after - position > SMALL_BYTES or self._reader.inflated:
                    self._note_call(after - position)
                position = after
                if position < size and self._turn_is_over():
                    flow.hold(data, position)
                    self._loop.call_soon(self._go_on)
                    return
        except ForeignBytesError as error:
            self._endpoint.counters.bad_messages += 1
            first = data[position : position + 16]
            first_bytes = "a token" if first.startswith(TOKEN_LINE) else first.hex(" ")
            self._endpoint.log.warning(str(error), peer=self.peer(), first_bytes=first_bytes)
            self.end()
        except StreamLostError as error:
            self._endpoint.log.warning("connection closed after a refused message", peer=self.peer(), reason=str(error))
            self.end()
        except Exception:  # a fault of ours: where the next message begins is not known
            self._endpoint.log.error("connection failed", peer=self.peer(), exc_info=True)
            self._transport.abort()

    def _turn_is_over(self) -> bool:
        """Whether messages of this connection have been read for so long that it is others' turn."""
        now = self._loop.time()
        if self._turn_ends == 0.0:
            self._turn_ends = now + _TURN_S
        return now > self._turn_ends

    def _go_on(self) -> None:
        """Another turn."""
        if not self._transport.is_closing():
            self._resume()

    def _note_call(self, size: int) -> None:
        """Count the message that was read last, if its call is in progress."""
        size += self._reader.inflated
        self._reader.inflated = 0
        exchange, self._newest = self._newest, None
        if exchange is not None and not exchange.answered:
            exchange.size = size
            self._bytes += size
            self._endpoint.held.calls(size)

    def _note_part(self) -> None:
        """Count what is there of a message whose rest is still coming."""
        size = self._reader.kept
        if size != self._partial:
            before, self._partial = self._partial, size
            self._endpoint.held.part(self, before, size)

    def drop_part(self) -> None:
        """Too much is held of messages whose rest is still coming, and most of it here: refuse this one."""
        error = overloaded("too many large messages are on their way", _RETRY_MS, setting="held_bytes")
        if not self._reader.give_up(error):
            self.end()
        self._note_part()

    def call(self, method: Method, values: tuple[Any, ...], codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """Start a call."""
        rates = self._endpoint.rates
        if rates is not None and (wait_s := rates.take(self.address)) > 0:
            self.refuse(over_rate(rates.rate, wait_s), codec, envelope, wrap)
            return
        if self._reading > LARGE_BYTES and self._endpoint.held.is_full:
            error = overloaded("too many large messages wait for their answers", _RETRY_MS, setting="held_bytes")
            self.refuse(error, codec, envelope, wrap)
            return
        exchange = Exchange(method, codec, envelope, wrap, self._answered, self._endpoint.log)
        self._exchanges.append(exchange)
        self._endpoint.counters.calls += 1
        CALLING.client = self._client_now()
        gate = self._endpoint.gate
        if gate is None:
            work = method.handler(*values)
        else:
            work = gate.start(self._visits.now, method.method, method.handler, values)
        exchange.begin(work)
        CALLING.client = None
        self._newest = exchange

    def call_plain(self, messages: PlainMessages, seqid: bytes, text: str, wrap: Wrap) -> bool:
        """Start a call of one text without options; False where it is to be started by `call`."""
        endpoint = self._endpoint
        if endpoint.rates is not None or self._reading > LARGE_BYTES:
            return False
        if endpoint.gate is None:
            client = self._client or self._client_now()
        else:
            caller = self._visits.now.caller
            if caller is None or messages.method.method not in (grant := caller.grant).at_once:
                return False
            if grant is not self._grant:
                self._grant, self._granted = grant, self._client_now()
            client = self._granted
        exchange = PlainExchange(messages, seqid, wrap, self._answered, endpoint.log)
        self._exchanges.append(exchange)
        if not messages.plain.begin(text, None, client.flow, exchange, messages):
            self._exchanges.pop()
            return False
        endpoint.counters.calls += 1
        return True

    def _client_now(self) -> Client:
        """Whose call it is: the connection's, or, where a message's header has a token, that token's."""
        visit = self._visits.now if self._endpoint.gate is not None else None
        if visit is not None and visit is not self._visits.usual:
            name = visit.caller.grant.name if visit.caller is not None else None
            if name is not None:
                known = self._clients_by_token.get(name)
                if known is None:
                    known = self._clients_by_token[name] = Client(owner_of(visit, None), is_connected=True)
                return known
        if self._client is None:
            address = counted(self.proxied_peer) if self.proxied_peer is not None else self.address
            self._client = Client(owner_of(visit, address), is_connected=True)
        return self._client

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """Answer a message with an error, in its turn."""
        self._newest = None
        self._endpoint.counters.bad_messages += 1
        method = self._endpoint.methods.get(envelope[0])
        exchange = Exchange(method, codec, envelope, wrap, self._answered, self._endpoint.log)
        self._exchanges.append(exchange)
        exchange.refuse(error)

    # -------------------------------------------------------------------------------------------------------- calls end

    def _answered(self, exchange: Exchange | PlainExchange) -> None:
        """Write the answers whose turn it is, now that `exchange` has one."""
        if exchange.size:
            self._bytes -= exchange.size
            self._endpoint.held.calls(-exchange.size)
            exchange.size = 0
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
        if self._flow.held is not None:
            self._resume()
        elif self._drain.active:
            self._finish()

    def _resume(self) -> None:
        """Go on with the messages that had to wait, and then with reading."""
        held = self._flow.take_held()
        if held is not None:
            self._read(*held)
        if self._flow.resume_reading():
            self._drain.look_again()
        if self._drain.active:
            self._finish()

    # ---------------------------------------------------------------------------------------------------------- the end

    def drain(self) -> None:
        """Close once the messages that have come are answered."""
        self._drain.begin()
        self._finish()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def end(self) -> None:
        """Read no more messages. Close once the calls in progress are answered."""
        self._drain.end()
        self._flow.drop_held()
        self._flow.resume_reading()
        self._finish()

    def _finish(self) -> None:
        """Announce the end when nothing is left to answer, now that no more calls are taken."""
        waiting = self._exchanges or self._output or self._flow.held is not None or self._drain.waits_for_bytes
        if not waiting and not self._transport.is_closing():
            self._drain.announce_end()

    def sweep(self, now: float) -> None:
        """Close the connection when it has been silent, or a message half sent, for too long. `now` is loop time.

        And when it is not read and the peer has gone.
        """
        paused, drain = self._flow.reading_paused, self._drain
        if drain.active and not drain.ended:
            self._finish()
        if paused and not drain.active and self._flow.peer_has_gone():
            self._transport.abort()
            return
        partial = self._reader.partial and not paused
        overdue = self._idle_watch.look(
            now, self._messages, partial=partial, busy=bool(self._exchanges), ended=drain.ended
        )
        if overdue is None:
            return
        if overdue is not Overdue.CLOSE:
            self._endpoint.counters.closed_idle += 1
        if overdue is Overdue.REST:
            self._endpoint.log.warning(
                "connection closed: the rest of a message did not come in "
                f"{self._endpoint.limits.message_s} s (setting message_s)",
                peer=self.peer(),
            )
        self._transport.abort()

    def came_from(self, peer: tuple[str, int]) -> None:
        """A balancer said whose connection it is."""
        self.proxied_peer = peer
        self._visits.came_from(self.peer())

    def peer(self) -> str:
        """The client's address, for the log."""
        name = self.proxied_peer or self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a unix socket"
