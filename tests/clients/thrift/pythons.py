"""Python's libraries, called and compared without a program being written."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

from predictor import Predictor, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport
from thriftpy2 import http
from thriftpy2.contrib.aio import rpc
from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocolFactory
from thriftpy2.contrib.aio.protocol.compact import TAsyncCompactProtocolFactory
from thriftpy2.contrib.aio.transport.buffered import TAsyncBufferedTransportFactory
from thriftpy2.contrib.aio.transport.framed import TAsyncFramedTransportFactory
from thriftpy2.protocol import TApacheJSONProtocolFactory, TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

from tests.clients.thrift.contract import MODULE, Kind, fields, method, to_plain, to_structs
from tests.clients.thrift.scenario import GIVE_AN_ID, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.thrift.scenario import Step

HOST = "127.0.0.1"
TIMEOUT_S = 60


@contextlib.contextmanager
def apache(port: int, transport: str, protocol: str) -> Iterator[Any]:
    """A client by Apache's library."""
    connection: Any = THttpClient(f"http://{HOST}:{port}/thrift") if transport == "http" else TSocket(HOST, port)
    connection.setTimeout(TIMEOUT_S * 1000)
    layers = {"buffered": TBufferedTransport, "framed": TFramedTransport}
    codes = {"binary": TBinaryProtocol, "compact": TCompactProtocol, "json": TJSONProtocol}
    if transport == "header":
        subprotocol = getattr(THeaderSubprotocolID, protocol.upper())
        coded: Any = THeaderProtocol(connection, (THeaderClientType.HEADERS,), subprotocol)
    else:
        coded = codes[protocol](layers[transport](connection) if transport in layers else connection)
    coded.trans.open()
    try:
        yield Predictor.Client(coded)
    finally:
        coded.trans.close()


_FACTORIES = {"binary": TBinaryProtocolFactory, "compact": TCompactProtocolFactory, "json": TApacheJSONProtocolFactory}


@contextlib.contextmanager
def thriftpy2(port: int, transport: str, protocol: str) -> Iterator[Any]:
    """A client by thriftpy2."""
    layers = {"buffered": TBufferedTransportFactory, "framed": TFramedTransportFactory}
    factory, timeout = _FACTORIES[protocol](), TIMEOUT_S * 1000
    if transport == "http":
        made = http.make_client(MODULE.Predictor, HOST, port, "/thrift", proto_factory=factory, timeout=timeout)
    else:
        layer = layers[transport]()
        made = make_client(MODULE.Predictor, HOST, port, proto_factory=factory, trans_factory=layer, timeout=timeout)
    with contextlib.closing(made):
        yield made


class Blocking:
    """A client whose calls are awaited one by one, by `ask`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[..., Any]) -> None:
        self._loop = loop
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A method of the service."""
        return lambda *arguments: self._loop.run_until_complete(self._ask(name, *arguments))


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
        loop.run_until_complete(asyncio.sleep(0.01))  # transports see that they are closed
    finally:
        loop.close()


@contextlib.contextmanager
def thriftpy2_aio(port: int, transport: str, protocol: str) -> Iterator[Any]:
    """A client by thriftpy2's part for asyncio."""
    layers = {"buffered": TAsyncBufferedTransportFactory, "framed": TAsyncFramedTransportFactory}
    codes = {"binary": TAsyncBinaryProtocolFactory, "compact": TAsyncCompactProtocolFactory}
    with _loop() as loop:
        made = loop.run_until_complete(
            rpc.make_client(
                MODULE.Predictor,
                HOST,
                port,
                proto_factory=codes[protocol](),
                trans_factory=layers[transport](),
                timeout=TIMEOUT_S * 1000,
            )
        )
        try:
            yield Blocking(loop, lambda name, *arguments: getattr(made, name)(*arguments))
        finally:
            made.close()


# Name of a function above -> where its structs are.
LIBRARIES = {
    "apache": (apache, ttypes),
    "thriftpy2": (thriftpy2, MODULE),
    "thriftpy2_aio": (thriftpy2_aio, MODULE),
}


def failures(name: str, port: int, transport: str, protocol: str, steps: list[Step]) -> list[str]:
    """The checks of the scenario that do not hold."""
    opened, module = LIBRARIES[name]
    with opened(port, transport, protocol) as client:
        return _differences(client, module, steps)


def _differences(client: Any, module: Any, steps: list[Step]) -> list[str]:
    stream_id, found = "", []
    for number, step in enumerate(steps):
        about = method(step.name)
        given = {name: stream_id if isinstance(value, Stream) else value for name, value in step.arguments.items()}
        arguments = [to_structs(each.kind, given.get(each.name), module) for each in about.arguments]
        where, kind = f"{number} {step.name}", about.result
        try:
            result = getattr(client, step.name)(*arguments)
        except module.PredictionError as error:
            result, kind = error, Kind("struct", "PredictionError")
            if not step.fails:
                found.append(f"{where}: {error}")
                continue
        else:
            if step.fails:
                found.append(f"{where} is answered")
                continue
        if step.name in GIVE_AN_ID and not step.fails:
            stream_id = result
        elif kind is not None:
            found += _compared(kind, to_plain(kind, result), step.expected, where)
    return found


def _compared(kind: Kind, found: Any, expected: Any, where: str) -> Iterator[str]:
    if found is None or expected is None:
        if found is not expected:
            yield where
    elif kind.kind == "double":
        if not math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-5):
            yield where
    elif kind.kind == "struct":
        for field in fields(kind.name):
            if field.name in expected:
                yield from _compared(field.kind, found[field.name], expected[field.name], f"{where}.{field.name}")
    elif kind.kind in ("list", "map"):
        yield from _compared_items(kind, found, expected, where)
    elif found != expected:
        yield where


def _compared_items(kind: Kind, found: Any, expected: Any, where: str) -> Iterator[str]:
    keys = [set(range(len(each))) if kind.kind == "list" else each.keys() for each in (found, expected)]
    if keys[0] != keys[1]:
        yield f"{where} size"
        return
    for key in keys[0]:
        yield from _compared(kind.element, found[key], expected[key], f"{where}[{key}]")
