"""A message that came by another way than a connection of the Thrift port, such as the body of an HTTP request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from server.clients import CALLING, Client, owner_of
from server.transport.exchange import Exchange
from server.transport.reader import Reader

if TYPE_CHECKING:
    from process.security.access import Visit
    from server.transport.codecs import Codec, Envelope
    from server.transport.endpoint import Endpoint
    from server.transport.frames import Wrap
    from server.transport.methods import Answer, Method


class OneMessage:
    """The receiver of a single message, and its answer."""

    def __init__(self, endpoint: Endpoint, visit: Visit) -> None:
        self._visit = visit
        self._endpoint = endpoint
        self._exchange: Exchange | None = None
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(self, message: bytes) -> bytes:
        """What `message`, which has no frame, is answered with: in its own protocol; nothing, to a oneway call.

        Raises ForeignBytesError when it is no message of Thrift.
        """
        endpoint = self._endpoint
        reader = Reader(endpoint.methods, endpoint.limits, endpoint.decoder, self)
        try:
            reader.take_whole(message)
        finally:
            reader.close()
        try:
            await self._answered
        finally:
            exchange, self._exchange = self._exchange, None
            assert exchange is not None
            if not exchange.answered:
                endpoint.counters.abandoned_calls += 1
                exchange.abandon()
        return exchange.answer

    def call(self, method: Method, values: tuple[Any, ...], codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """See Receiver."""
        exchange = self._begin(method, codec, envelope, wrap)
        self._endpoint.counters.calls += 1
        # A connection of HTTP says nothing of whose stream it is: all that come this way, and whose token is not known,
        # share a part of the streams.
        CALLING.client = Client(owner_of(self._visit, None), account="messages")
        gate = self._endpoint.gate
        if gate is None:
            work = method.handler(*values)
        else:
            work = gate.start(self._visit, method.method, method.handler, values)
        exchange.begin(work)
        CALLING.client = None

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """See Receiver."""
        self._endpoint.counters.bad_messages += 1
        self._begin(self._endpoint.methods.get(envelope[0]), codec, envelope, wrap).refuse(error)

    def _begin(self, method: Method | None, codec: Codec, envelope: Envelope, wrap: Wrap) -> Exchange:
        self._exchange = Exchange(method, codec, envelope, wrap, self._done, self._endpoint.log)
        return self._exchange

    def _done(self, _exchange: Exchange) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
