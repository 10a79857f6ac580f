"""What is the same for all calls of a client: the server's address, limits, and what is tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from predictor_client.errors import ConnectFailed, ConnectionLost, Overloaded, Unavailable

if TYPE_CHECKING:
    from ssl import SSLContext

    from predictor_client.errors import PredictorError
    from predictor_client.wire import Method

PORT = 9090
_UNIX = "unix:"
GRACE_S = 1.0
"""So long after a deadline the answer is still waited for: the server's own says more, and a text has an end."""
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


class Address(NamedTuple):
    """Where the server listens: at a host's port, or at the path of a unix socket."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Of HOST, HOST:PORT, [HOST]:PORT or unix:PATH. Raises ValueError."""
        if text.startswith(_UNIX) and len(text) > len(_UNIX):
            return cls("", 0, text.removeprefix(_UNIX))
        try:
            parts = urlsplit(f"//{text}")
            if (
                parts.hostname
                and not text.startswith(_UNIX)
                and not (parts.path or parts.query or parts.fragment or parts.username)
            ):
                return cls(parts.hostname, PORT if parts.port is None else parts.port)
        except ValueError:
            pass
        raise ValueError(f"{text!r} is no address such as localhost:{PORT} or unix:/run/predictor.sock")

    def __str__(self) -> str:
        if self.path is not None:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Of a client."""

    address: Address
    connect_timeout: float
    connections: int
    retries: int
    idempotent: bool
    max_answer_bytes: int
    tls: SSLContext | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def first_bytes(self) -> bytes:
        """What a connection begins with, before any message: nothing, or the line that says who calls."""
        return b"" if self.token is None else f"Bearer {self.token}\n".encode()

    def __post_init__(self) -> None:
        if self.token is not None and (not self.token.isprintable() or not self.token):
            raise ValueError("a token is not empty, and has no line breaks or other control characters")
        if self.tls is not None and self.address.path is not None:
            raise ValueError("tls is for a host's port: what goes through a unix socket leaves no machine")
        for name in ("connect_timeout", "connections", "max_answer_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be over 0, not {getattr(self, name)!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, not {self.retries!r}")

    def pause(self, error: PredictorError, tries: int, method: Method, deadline: float | None) -> float | None:
        """Seconds until the call is tried again after so many retries; None: it is not.

        It is where the server cannot have run it: it was not reached, or says so. After a lost connection it may have
        been run, and is tried again only if the caller says that this does no harm.
        """
        if tries >= self.retries:
            return None
        ran_nothing = isinstance(error, (ConnectFailed, Overloaded, Unavailable))
        if not ran_nothing and not (isinstance(error, ConnectionLost) and self.idempotent and method.repeatable):
            return None
        told = error.retry_after if isinstance(error, (Overloaded, Unavailable)) else None
        pause = min(_FIRST_PAUSE_S * 2**tries if told is None else told, _LONGEST_PAUSE_S) * random.uniform(1, 1.2)
        return None if deadline is not None and time.monotonic() + pause >= deadline else pause


def left(deadline: float | None) -> float | None:
    """Seconds until then, at least 0."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
