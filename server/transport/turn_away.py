"""What a connection over the limit gets: its first call is answered with OVERLOADED, in its own dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from server.errors import overloaded

if TYPE_CHECKING:
    from server.transport.codecs import Codec, Envelope
    from server.transport.frames import Wrap
    from server.transport.methods import Answer, Method

MOST = 128
"""Connections over the limit that are answered at a time; more are closed as they come."""

PATIENCE_S = 5.0
"""Seconds that such a connection has for its first call."""

_RETRY_MS = 1000


class Answering(Protocol):
    """The connection."""

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """A message to answer with an error."""

    def end(self) -> None:
        """Read no more messages; close once those that have come are answered."""


class TurnAway:
    """In the place of a connection as the receiver of what its reader finds."""

    def __init__(self, connection: Answering, limit: int) -> None:
        self._connection = connection
        self._error = overloaded(f"{limit} connections are open", _RETRY_MS, setting="connections")

    def call(self, _method: Method, _values: tuple[Any, ...], codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """See Receiver."""
        self._connection.refuse(self._error, codec, envelope, wrap)
        self._connection.end()

    def refuse(self, error: Answer, codec: Codec, envelope: Envelope, wrap: Wrap) -> None:
        """See Receiver."""
        self._connection.refuse(error, codec, envelope, wrap)
        self._connection.end()
