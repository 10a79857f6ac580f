"""Whose calls a connection brings: by its certificate, by the line with which it begins, or by a message's header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process.security.access import Visit
from process.security.tls import certificate_names
from process.security.token_file import LONGEST
from server.transport.detect import ForeignBytesError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from process.security.access import Caller
    from server.security.gate import Gate

TOKEN_LINE = b"Bearer "
"""What the first line of a connection begins with, whose client cannot give a token in any other way.

As the length of a frame it would be over a gigabyte, and longer than any message may be.
"""

_LINE_BYTES = len(TOKEN_LINE) + LONGEST + 2

_AUTHORIZATION = b"authorization"
_API_KEY = b"x-api-key"


class Visits:
    """Of one connection. Without a gate nobody asks who calls, and tokens are passed over."""

    __slots__ = ("_gate", "now", "usual")

    def __init__(self) -> None:
        self._gate: Gate | None = None
        self.now: Visit
        """Whose message is read; it is there from `open` on."""
        self.usual: Visit
        """The connection's own."""

    def open(self, gate: Gate, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._gate = gate
        names = certificate_names(transport)
        caller = gate.access.by_certificate(names) if names else gate.access.nobody
        self.now = self.usual = Visit(caller, "thrift", transport)

    def came_from(self, address: str) -> None:
        """A balancer said whose connection it is."""
        if self._gate is not None:
            self.usual.address = address

    def take_line(self, data: bytes, position: int) -> int | None:
        """Where the line with a token that begins at `position` ends; 0 when more bytes are needed; None: it is none.

        Raises ForeignBytesError.
        """
        line = data[position : position + _LINE_BYTES]
        if not line.startswith(TOKEN_LINE):
            return 0 if TOKEN_LINE.startswith(line) else None
        end = line.find(b"\n")
        if end < 0:
            if len(line) < _LINE_BYTES:
                return 0
            raise ForeignBytesError("a token's line without an end")
        if self._gate is not None:
            self.now.caller = self._caller(line[len(TOKEN_LINE) : end])
        return position + end + 1

    def enter(self, headers: Mapping[bytes, bytes]) -> Visit | None:
        """For a message with these headers it is the caller whose token they have, if they have one.

        Gives who it was, to be put back afterwards; None where nothing has changed.
        """
        gate = self._gate
        if gate is None or not headers:
            return None
        named = {name.lower(): value for name, value in headers.items()}
        token = _bearer(named.get(_AUTHORIZATION)) or named.get(_API_KEY)
        if token is None:
            return None
        usual = self.now
        self.now = Visit(self._caller(token), "thrift", usual.transport)
        self.now.address = usual.address
        return usual

    def _caller(self, token: bytes) -> Caller:
        assert self._gate is not None
        return self._gate.access.by_token(token.strip().decode("utf-8", "surrogateescape"))


def _bearer(value: bytes | None) -> bytes | None:
    if value is None or value[: len(TOKEN_LINE)].lower() != TOKEN_LINE.lower():
        return None
    return value[len(TOKEN_LINE) :].strip()
