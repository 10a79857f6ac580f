"""Every way in with a token: transports and protocols of the Thrift port, a unix socket, and Thrift over HTTP."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TSocket import TSocket

from tests.server.transport.thrift_clients import BY_NAME, DIALECTS, HOST, multiplexed
from tests.support.tokens import by_header, by_line, code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Connecting = Callable[[int, str | None], contextlib.AbstractContextManager[Any]]

AT_PORT: dict[str, Connecting] = {
    **{f"line, {dialect.name}": by_line(dialect.name) for dialect in DIALECTS if "header" not in dialect.name},
    **{
        f"{name}, {dialect.name}": by_header(dialect.name, name, value)
        for dialect in DIALECTS
        if "header" in dialect.name
        for name, value in (("authorization", "Bearer {}"), ("x-api-key", "{}"))
    },
}
"""Clients of the Thrift port: all dialects, each with the token where it can have one."""

AT_SOCKET = ("framed-binary-accelerated", "unframed-compact", "framed-json-multiplexed", "header-binary")

OVER_HTTP = {
    "binary": TBinaryProtocol,
    "compact": TCompactProtocol,
    "json": TJSONProtocol,
    "multiplexed binary": multiplexed(TBinaryProtocol),
}
"""Protocols of the HTTP port's /thrift."""


@contextlib.contextmanager
def at_socket(path: Path, dialect: str, token: str | None) -> Iterator[Any]:
    """A client at a unix socket, whose connection begins with the token's line."""
    known = BY_NAME[dialect]
    socket = TSocket(unix_socket=str(path))
    transport = known.transport(socket)
    transport.open()
    if token is not None:
        socket.write(f"Bearer {token}\n".encode())
    try:
        yield Predictor.Client(known.protocol(transport))
    finally:
        transport.close()


def code_over_http(port: int, protocol: str, headers: dict[str, str], model: str | None = None) -> str:
    """The code with which a call of `predict` by POST /thrift ends: HTTP's own status where it gets no further."""
    transport = THttpClient(f"http://{HOST}:{port}/thrift")
    transport.setCustomHeaders(headers)
    transport.open()
    try:
        return code_of(lambda: Predictor.Client(OVER_HTTP[protocol](transport)).predict("a", RequestOptions(model)))
    except Exception:  # whatever the protocol makes of an answer that is none of Thrift's
        if transport.code == 200:
            raise
        return {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "OVERLOADED"}[transport.code]
    finally:
        transport.close()


def code_at_port(way: str, port: int, token: str | None, model: str | None = None) -> str:
    """The code with which a call of `predict` ends, or OK."""
    with AT_PORT[way](port, token) as predictor:
        return code_of(lambda: predictor.predict("set an alarm", RequestOptions(model)))


def code_at_socket(path: Path, dialect: str, token: str | None, model: str | None = None) -> str:
    """The same at a unix socket."""
    with at_socket(path, dialect, token) as predictor:
        return code_of(lambda: predictor.predict("set an alarm", RequestOptions(model)))
