"""Calls of one text without options go a way of their own, over Thrift and over HTTP.

Whatever is sent, and whatever the model says, the answers are those of the usual way, byte for byte.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog
from predictor.ttypes import RequestOptions, ServerStatus
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TMessageType
from torch import nn

from rest_proxy.config import Address
from rest_proxy.config import Settings as HttpSettings
from rest_proxy.lifecycle import listening
from server.config import Settings
from server.models.registry import Registry
from server.proxy.handlers import HandlerPool
from server.rpc.handler import Handler
from server.rpc.plain import PlainPredict
from server.transport.limits import limits_of
from server.transport.server import ThriftServer
from tests.server.transport.service import frame, message
from tests.support import zoo as models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.gate import Gate

HOST = "127.0.0.1"
LIMITS: dict[str, Any] = {"warm_up_tokens": 0, "replicas": 1, "equal_lengths": "never", "max_tokens": 300}
STATUS = ServerStatus("1", 0.0, True, [], 0, [])
CHANGING = re.compile(
    rb"(?<=\r\nDate: )[^\r]+|(?<=X-Request-Id: )[0-9a-f]{8,}[-0-9a-f]*|\b[0-9a-f]{8}-\d+|\b[0-9a-f]{16}\b"
)


class Numbers(nn.Module):
    """Two labels, whose scores are made of the first word; other words ask for something else."""

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for text in texts:
            word = text.split(" ")[0]
            if word == "other":
                found.append({"another label": 1.0})
            elif word == "fail":
                raise ValueError("it fails")
            elif word in ["", "set", "été", "a"]:
                found.append({'lábel "1"': 0.25, "label/2": 1e-300})
            else:
                found.append({'lábel "1"': float(word), "label/2": -2.5})
        return found


TEXTS = {
    "words": "1.5 a text",
    "nothing": "",
    "zero": "-0.0",
    "many digits": "0.1234567890123456789",
    "beyond ASCII": "été ☀ 😀 \ufffd",
    "NUL": "1 \0",
    "127 bytes": "1".ljust(127),
    "128 bytes": "1".ljust(128),
    "a long text": "1" + " a" * 250,
    "1020 bytes of a message": "1".ljust(993),
    "1021 bytes of a message": "1".ljust(994),
    "1024 bytes of a message": "1".ljust(997),
    "1025 bytes of a message": "1".ljust(998),
    "a longer text": "1" + " " * 2000,
    "too many tokens": "a " * 301,
    "not a number": "nan",
    "infinite": "inf",
    "other labels": "other",
    "a failing model": "fail",
}


class Servers(NamedTuple):
    """The same models behind two pairs of ports: plain calls go their own way, or the usual one."""

    thrift: tuple[int, int]
    http: tuple[int, int]
    servers: tuple[ThriftServer, ThriftServer]
    registry: Registry


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(Numbers(), tmp_path_factory.mktemp("numbers") / "numbers.pt")


@asynccontextmanager
async def serving(path: Path, **more: Any) -> AsyncIterator[Servers]:
    """Both, on this loop."""
    settings = Settings(**LIMITS | more)
    registry = Registry(settings)
    await registry.load("numbers", str(path))
    log = structlog.get_logger()
    handlers = [Handler(registry, settings, lambda: STATUS) for _ in range(2)]
    handlers[1].plain = {}
    servers = [ThriftServer(handler, limits_of(settings), log) for handler in handlers]
    for server in servers:
        await server.start(HOST, 0)
    http = HttpSettings(port=0)
    pools = [
        HandlerPool(handler, lambda: STATUS, http, Address(HOST, server.port), log, server.answer)
        for handler, server in zip(handlers, servers, strict=True)
    ]
    try:
        async with listening(http, pools[0]) as plain, listening(http, pools[1]) as usual:
            first, second = servers
            yield Servers((first.port, second.port), (plain, usual), (first, second), registry)
    finally:
        for server in servers:
            server.close()
        await registry.close()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the calls that went the way of their own."""
    texts: list[str] = []
    begin = PlainPredict.begin

    def noted(self: PlainPredict, text: str, *arguments: Any) -> bool:
        is_begun = begin(self, text, *arguments)
        texts.extend([text] * is_begun)
        return is_begun

    monkeypatch.setattr(PlainPredict, "begin", noted)
    return texts


class Wire(asyncio.Transport):
    """A transport without a socket, which keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": (HOST, 1), "socket": SimpleNamespace(family=socket.AF_UNIX)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """What comes all the same is held."""

    resume_reading = pause_reading


async def answered(server: ThriftServer, *parts: bytes) -> tuple[bytes, bool]:
    """All that a connection answers to these bytes, and whether it is closed then."""
    connection, wire = server._connection(), Wire()
    connection.connection_made(wire)
    for part in parts:
        connection.data_received(part)
    async with asyncio.timeout(60):
        while connection._exchanges or connection._output or connection._flow.held is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.0005)
    assert connection._bytes == 0
    connection.connection_lost(None)
    assert server._endpoint.held._bytes == 0
    return CHANGING.sub(b"*", wire.written), wire.closed


async def both_ways(servers: Servers, *parts: bytes) -> tuple[tuple[bytes, bool], tuple[bytes, bool]]:
    """What plain calls are answered when they go their own way, and when they go the usual one."""
    plain, usual = servers.servers
    return await answered(plain, *parts), await answered(usual, *parts)


async def http_answer(port: int, request: bytes) -> bytes:
    """All that comes back to requests of which the last one closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    try:
        return CHANGING.sub(b"*", await asyncio.wait_for(reader.read(), 60))
    finally:
        writer.close()


def calls(text: str) -> Iterator[tuple[str, bytes]]:
    """(name, message) of the text in all dialects."""
    for name, protocol in (("binary", TBinaryProtocol), ("compact", TCompactProtocol)):
        for seqid in (0, 1, 300, 2**31 - 1):
            whole = message("predict", text, None, protocol=protocol, seqid=seqid)
            yield f"framed {name} {seqid}", frame(whole)
            yield f"{name} {seqid}", whole


@pytest.mark.parametrize("name", TEXTS)
async def test_thrift_answers_are_the_same(name: str, numbers: Path, begun: list[str]) -> None:
    text = TEXTS[name]
    async with serving(numbers) as servers:
        for dialect, sent in calls(text):
            begun.clear()
            plain, usual = await both_ways(servers, sent)
            assert plain == usual, dialect
            assert plain[0], dialect
            most = 127 if "compact" in dialect else 993
            assert bool(begun) == (len(text.encode()) <= most), dialect


ODD: dict[str, bytes] = {
    "options": message("predict", "1", RequestOptions()),
    "options with a deadline": message("predict", "1", RequestOptions(timeout_ms=5000)),
    "no text": message("predict", None, None),
    "another method": message("status"),
    "a reply": message("predict", "1", None, kind=TMessageType.REPLY),
    "oneway": message("predict", "1", None, kind=TMessageType.ONEWAY) + message("predict", "2", None),
    "old": message("predict", "1", None)[4:15] + b"\x01" + message("predict", "1", None)[15:],
    "multiplexed": message("predict", "1", None).replace(
        b"\x00\x00\x00\x07predict", b"\x00\x00\x00\x11Predictor:predict"
    ),
    "JSON": message("predict", "1", None, protocol=TJSONProtocol),
    "no UTF-8": message("predict", "1 x", None).replace(b"1 x", b"1 \xff"),
    "half a pair": message("predict", "1 xxx", None).replace(b"1 xxx", b"1 \xed\xa0\x80"),
    "a longer size": message("predict", "1", None).replace(b"\x00\x00\x00\x011\x00", b"\x00\x00\x00\x021\x00"),
    "a field of another number": message("predict", "1", None).replace(b"\x0b\x00\x01", b"\x0b\x00\x05"),
    "one field more": message("predict", "1", None)[:-1] + b"\x0b\x00\x07\x00\x00\x00\x01x\x00",
    "a huge size": message("predict", "1", None).replace(b"\x00\x00\x00\x011\x00", b"\xff\xff\xff\xff1\x00"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("framed", [True, False])
async def test_other_messages_go_the_usual_way(name: str, framed: bool, numbers: Path, begun: list[str]) -> None:
    sent = frame(ODD[name]) if framed else ODD[name]
    async with serving(numbers) as servers:
        plain, usual = await both_ways(servers, sent)
    assert plain == usual
    assert begun == (["2"] if name == "oneway" and not framed else [])


async def test_messages_cut_and_changed_anywhere_are_answered_the_same(numbers: Path) -> None:
    """In two parts at every place, and with bytes changed by chance."""
    chance = random.Random(3)
    async with serving(numbers) as servers:
        for protocol in (TBinaryProtocol, TCompactProtocol):
            whole = frame(message("predict", "1 été", None, protocol=protocol, seqid=300))
            for place in range(1, len(whole), 3):
                plain, usual = await both_ways(servers, whole[:place], whole[place:])
                assert plain == usual, place
            for _ in range(60):
                changed = bytearray(whole if chance.random() < 0.5 else whole[4:])
                changed[chance.randrange(4, len(changed))] = chance.randrange(256)
                plain, usual = await both_ways(servers, bytes(changed))
                assert plain == usual, bytes(changed)


async def test_pipelined_calls_keep_their_order(numbers: Path, begun: list[str]) -> None:
    """Between others, and in one write."""
    kinds = [None, RequestOptions(), None, None]
    sent = b"".join(
        frame(message("predict", f"{number} a", kinds[number % 4], seqid=number)) for number in range(1, 41)
    )
    async with serving(numbers) as servers:
        plain, usual = await both_ways(servers, sent)
        assert [server.counters.calls for server in servers.servers] == [40, 40]
    assert plain == usual
    assert len(begun) == 30


async def test_a_full_queue_refuses_either_way(numbers: Path) -> None:
    """And both count it once."""
    sent = b"".join(frame(message("predict", "1 a", None, seqid=number)) for number in range(1, 6))
    async with serving(numbers, queue_items=2, client_share=1.0) as servers:
        answers, refused = [], []
        for server in servers.servers:
            before = servers.registry.statuses()[0].overloaded
            answers.append(await answered(server, sent))
            refused.append(servers.registry.statuses()[0].overloaded - before)
    assert answers[0] == answers[1]
    assert refused == [3, 3]


async def test_who_goes_away_is_forgotten(gate: Gate) -> None:
    async with serving(gate.path) as servers:
        with gate.closed():
            for index, port in enumerate(servers.thrift):
                before = servers.registry.statuses()[0].cancelled
                _, writer = await asyncio.open_connection(HOST, port)
                writer.write(frame(message("predict", "a", None)) * 2)
                async with asyncio.timeout(60):
                    while servers.servers[index].counters.calls < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                    writer.transport.abort()
                    while servers.servers[index].counters.abandoned_calls < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                assert servers.registry.statuses()[0].cancelled == before + 2


async def test_a_drain_answers_what_has_come(gate: Gate) -> None:
    async with serving(gate.path) as servers:
        with gate.closed():
            reader, writer = await asyncio.open_connection(HOST, servers.thrift[0])
            writer.write(frame(message("predict", "a", None)))
            async with asyncio.timeout(60):
                while servers.servers[0].counters.calls < 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            draining = asyncio.ensure_future(servers.servers[0].drain(60))
            await asyncio.sleep(0.01)
            assert not draining.done()
            gate.open()
            assert await draining
        assert len(await asyncio.wait_for(reader.read(), 60)) > 30
        writer.close()


async def test_a_deadline_that_passes_while_the_model_runs(gate: Gate) -> None:
    async with serving(gate.path, timeout_ms=20) as servers:
        answers = []
        for server in servers.servers:
            with gate.closed():
                answers.append(await answered(server, frame(message("predict", "a", None))))
            async with asyncio.timeout(60):
                while servers.registry.statuses()[0].running:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
    assert answers[0] == answers[1]
    assert b"the deadline passed while the model ran" in answers[0][0]
    assert b"timeout_ms" in answers[0][0]


async def test_an_answer_over_the_limit_is_refused_either_way(tmp_path: Path) -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.label = "x" * 2000

        def forward(self, texts: list[str]) -> list[dict[str, float]]:
            return [{self.label: 0.5} for _ in texts]

    path = models.save(Long(), tmp_path / "long.pt")
    async with serving(path, message_bytes=1024) as servers:
        answers = await both_ways(servers, frame(message("predict", "a", None)))
    assert answers[0] == answers[1]
    assert b"over the limit of 1024" in answers[0][0]


@pytest.mark.parametrize("name", TEXTS)
async def test_http_answers_are_the_same(name: str, numbers: Path, begun: list[str]) -> None:
    text = TEXTS[name]
    body = json.dumps({"doc": text}).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    query = "".join(f"%{byte:02X}" for byte in text.encode())
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
    requests = {
        "JSON": head % len(body) + b"\r\n" + body,
        "with an id": head % len(body) + b"X-Request-Id: mine\r\n\r\n" + body,
        "lines": f"GET /?doc={query} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    }
    async with serving(numbers) as servers:
        for kind, request in requests.items():
            begun.clear()
            plain, usual = [await http_answer(port, request + last) for port in servers.http]
            assert plain == usual, kind
            assert plain.startswith(b"HTTP/1.1 "), kind
            assert begun == [text], kind


class Silent:
    """A method whose engine takes every call, and tells nobody what became of it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.left: list[int] = []

    def takes_timeout(self, _timeout_ms: int) -> bool:
        return True

    def begin(self, _text: str, _deadline_ns: int, _flow: int, call: Any, _answer: Any) -> bool:
        self.calls.append(call)
        call.engine, call.id = self, len(self.calls)
        return True

    def cancel(self, number: int) -> None:
        self.left.append(number)

    def explained(self, error: Any, *, timeout_named: bool) -> Any:
        assert timeout_named
        return error


@asynccontextmanager
async def silent(**more: Any) -> AsyncIterator[tuple[int, Silent, HandlerPool]]:
    """A port before such a method."""
    method, http = Silent(), HttpSettings(port=0, **more)
    handler = SimpleNamespace(plain={"predict": method})
    pool = HandlerPool(handler, lambda: STATUS, http, Address(HOST, 1), structlog.get_logger(), no_message)
    async with listening(http, pool) as port:
        yield port, method, pool


async def no_message(_message: bytes, _visit: Any) -> bytes:
    raise AssertionError


ASKED = b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"doc": "a"}'


async def test_http_calls_of_which_nothing_is_heard_are_given_up() -> None:
    """And what is heard of them later is for nobody."""
    async with silent(timeout_ms=10, grace_ms=20) as (port, method, pool):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(ASKED)
        assert (await reader.readline()).startswith(b"HTTP/1.1 504 ")
        assert b"no answer in 10 ms and 20 ms grace" in await reader.readuntil(b"}}\n")
        assert (method.left, pool.upstreams[0].calls) == ([1], 0)
        method.calls[0].resolve(b"{}")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).count(b"HTTP/1.1 ") == 1
        writer.close()


async def test_http_clients_that_go_away_take_their_calls_along() -> None:
    async with silent() as (port, method, pool):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(ASKED)
        async with asyncio.timeout(60):
            while not method.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert pool.upstreams[0].calls == 1
            writer.transport.abort()
            while not method.left:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert (method.left, pool.upstreams[0].calls) == ([1], 0)
        method.calls[0].resolve(b"{}")  # too late: for nobody
