"""What a token costs the event loop: the server's own ports in one process, without sockets.

Over sockets a request takes 25 to 35 us of it, and two processes of the same server differ by more than a token costs.
Here a port that is open, the same again, and one that asks for a token take turns of about a millisecond, so that what
slows the machine slows all: the same request on each of some connections, answered by the model as always.
"""

from __future__ import annotations

import asyncio
import socket
import time
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
import uvloop
from predictor.ttypes import ServerStatus

from benchmarks.endpoints import HOST
from benchmarks.floor import SIDES
from benchmarks.measure import MeasureError
from process.security.access import Access
from process.security.token_file import new_token
from rest_proxy.application import Application
from rest_proxy.config import Address
from rest_proxy.http.server.door import Door
from rest_proxy.http.server.listener import HttpServer
from server.config import Settings
from server.models.registry import Registry
from server.proxy.handlers import HandlerPool
from server.rpc.handler import Handler
from server.security.gate import METHODS, Gate
from server.tokens import line_of
from server.transport.limits import limits_of
from server.transport.server import ThriftServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPEN, AGAIN, TOKEN = "open", "open again", "token"
KINDS = (OPEN, AGAIN, TOKEN)
CONNECTIONS = 32
TURNS = 1500
"""Of each kind. Two ports that are the same differ by up to a quarter of a microsecond then."""

_WARM_UP = 50
_ANSWERS = {"Thrift": b"\x80\x01\x00\x02", "HTTP": b"HTTP/1.1 200 OK\r\n"}
_TIMEOUT_S = 60

Costs = dict[tuple[str, str], list[float]]
"""(protocol, kind) -> CPU microseconds of the loop's thread for a request, one figure a turn."""


class Wire(asyncio.Transport):
    """A transport to nowhere: it counts what is written, which is an answer each time."""

    def __init__(self, on_answer: Callable[[bytes], object]) -> None:
        opened = SimpleNamespace(family=socket.AF_UNIX, setsockopt=lambda *_: None)
        super().__init__({"peername": (HOST, 1), "sockname": (HOST, 2), "socket": opened})
        self.write = on_answer  # type: ignore[assignment,method-assign]  # without a call in between

    def is_closing(self) -> bool:
        """See asyncio."""
        return False

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return 0


class Port(NamedTuple):
    """One of a kind: its connections, and what each is sent."""

    connections: list[Any]
    request: bytes


class Turns:
    """Sends a request on each connection of a port, and waits for the answers."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._missing = 0
        self._all_there: asyncio.Future[None] | None = None

    def wire(self) -> Wire:
        """Of a new connection."""
        return Wire(self._on_answer)

    def _on_answer(self, data: bytes) -> None:
        assert data.startswith(self._expected), data[:200]
        self._missing -= 1
        if not self._missing and self._all_there is not None:
            self._all_there.set_result(None)

    async def take(self, port: Port) -> float:
        """The thread's CPU microseconds for one of the requests."""
        self._missing = len(port.connections)
        self._all_there = asyncio.get_running_loop().create_future()
        began = time.thread_time_ns()
        for connection in port.connections:
            connection.data_received(port.request)
        await asyncio.wait_for(self._all_there, _TIMEOUT_S)
        return (time.thread_time_ns() - began) / 1000 / len(port.connections)


class _Servers:
    """The model, and the servers before it: with a gate, and without."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._settings = settings
        self._handler: Any = Handler(registry, settings, _status)

    def thrift(self, gate: Gate | None) -> ThriftServer:
        return ThriftServer(self._handler, limits_of(self._settings), structlog.get_logger(), gate)

    def http(self, gate: Gate | None) -> HttpServer:
        address = Address(HOST, 1)
        settings, thrift = self._settings.of_proxy(address), self.thrift(gate)
        pool = HandlerPool(self._handler, _status, settings, address, structlog.get_logger(), thrift.answer, gate)
        return HttpServer(
            Application(settings, pool, Door(gate.access, hands_on=False) if gate is not None else None), settings
        )


def _status() -> ServerStatus:
    return ServerStatus("", 0.0, True, [], 0, [])


async def _ports(side: Any, servers: _Servers, gate: Gate, token: str, turns: Turns) -> dict[str, Port]:
    """By kind."""
    ports = {}
    for kind in KINDS:
        its_gate, request, first = gate if kind == TOKEN else None, side.request, b""
        if side.name == "Thrift":
            server: Any = servers.thrift(its_gate)._connection
            first = f"Bearer {token}\n".encode() if its_gate is not None else b""
        else:
            server = servers.http(its_gate)
            line, rest = request.split(b"\r\n", 1)
            other = f"Authorization: Bearer {token}" if its_gate is not None else f"X-Another-Headr: {'x' * len(token)}"
            request = b"\r\n".join((line, other.encode(), rest))  # as many bytes of headers either way
        connections = [server() for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.connection_made(turns.wire())
        await asyncio.sleep(0)
        for connection in connections:
            if first:
                connection.data_received(first)
        ports[kind] = Port(connections, request)
    return ports


async def _measure(model: Path, folder: Path, number_of_turns: int) -> Costs:
    token, tokens = new_token(), folder / "tokens.toml"
    tokens.write_text(line_of("benchmark", token, {}) + "\n")
    tokens.chmod(0o600)
    settings = Settings(inline_us=0)
    registry = Registry(settings)
    await registry.load("model", str(model))
    gate, servers = Gate(Access(tokens, METHODS), registry.default_name), _Servers(registry, settings)
    costs: Costs = {}
    try:
        for side in SIDES:
            turns = Turns(_ANSWERS[side.name])
            ports = await _ports(side, servers, gate, token, turns)
            for number in range(_WARM_UP + number_of_turns):
                shift = number % len(KINDS)
                for kind in KINDS[shift:] + KINDS[:shift]:
                    cost = await turns.take(ports[kind])
                    if number >= _WARM_UP:
                        costs.setdefault((side.name, kind), []).append(cost)
    finally:
        await registry.close()
    return costs


def measure(model: Path, folder: Path, turns: int = TURNS) -> Costs:
    """All turns; `folder` is for a file of tokens. Raises MeasureError."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_measure(model, folder, turns))
        except (AssertionError, TimeoutError) as error:
            raise MeasureError(f"a wrong answer, or none: {error}") from None


def beyond_open_us(costs: Costs, protocol: str, kind: str) -> float:
    """What a kind costs beyond the open one, in the middle turn."""
    pairs = zip(costs[protocol, kind], costs[protocol, OPEN], strict=True)
    return median(cost - without for cost, without in pairs)
