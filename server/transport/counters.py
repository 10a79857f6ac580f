"""What happened to a server's connections and calls, for its metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What happened since the server was made."""

    accepted_connections: int = 0
    refused_connections: int = 0
    """Over the limit `connections`."""
    calls: int = 0
    """Calls handed to the handler."""
    bad_messages: int = 0
    """Messages answered with an error before they got to the handler, and bytes that were no message."""
    closed_idle: int = 0
    """Connections closed because nothing came, or not the rest of a message."""
    abandoned_calls: int = 0
    """Calls cancelled because their connection was lost."""
