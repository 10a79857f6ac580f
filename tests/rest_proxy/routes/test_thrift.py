"""POST /thrift, with the HTTP clients of Thrift libraries: inside the server, and by the proxy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import structlog
import thriftpy2.http
from predictor import Predictor
from predictor.ttypes import ErrorCode, PredictionError, RequestOptions, ServerStatus
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TMessageType
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TTransport import TMemoryBuffer
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory

from rest_proxy.config import Address, Settings
from rest_proxy.lifecycle import listening
from server import config
from server.proxy.handlers import HandlerPool
from server.rpc.handler import Handler
from server.transport.limits import limits_of
from server.transport.server import ThriftServer
from tests.server.transport.thrift_clients import BigEndianCompactProtocol, multiplexed
from tests.support.letters import Letters, registry_of
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PROTOCOLS = {
    "binary": TBinaryProtocol,
    "old binary": lambda transport: TBinaryProtocol(transport, strictRead=False, strictWrite=False),
    "compact": TCompactProtocol,
    "fbthrift's compact": BigEndianCompactProtocol,
    "JSON": TJSONProtocol,
    "multiplexed binary": multiplexed(TBinaryProtocol),
    "multiplexed JSON": multiplexed(TJSONProtocol),
}
TEXT = "abc ä"
SCORES = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}


@pytest.fixture(params=["inside", "proxy", "unix socket"])
async def url(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[str]:
    """Where a model of letters is served."""
    settings, log = config.Settings(), structlog.get_logger()
    status = ServerStatus("", 0.0, True, [], 0, [])
    handler = Handler(registry_of(settings, letters=Letters()), settings, lambda: status)
    server = ThriftServer(handler, limits_of(settings), log)
    await server.start("127.0.0.1", 0)
    await server.start_unix(tmp_path / "socket")
    tcp, unix = Address("127.0.0.1", server.port), Address(f"unix:{tmp_path}/socket", 0)
    own = Settings(port=0, thrift=(unix if request.param == "unix socket" else tcp,), timeout_ms=5000)
    pool = HandlerPool(handler, lambda: status, own, tcp, log, server.answer) if request.param == "inside" else None
    async with listening(own, pool) as port:
        yield f"http://127.0.0.1:{port}/thrift"
    server.close()


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_the_thrift_packages_client(url: str, name: str) -> None:
    def ask() -> None:
        transport = THttpClient(url)
        it = Predictor.Client(PROTOCOLS[name](transport))
        transport.open()
        for _ in range(2):
            assert it.predict(TEXT, None) == pytest.approx(SCORES)
        assert it.embed_matrix(["ab"], None, None).rows == 1
        with pytest.raises(PredictionError) as caught:
            it.predict("a", RequestOptions(model="none"))
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_FOUND, "options.model")
        assert it.status().ready
        transport.close()

    await asyncio.to_thread(ask)


@pytest.mark.parametrize("protocol", [TBinaryProtocolFactory(), TCompactProtocolFactory()])
async def test_thriftpy2s_client(url: str, protocol: Any) -> None:
    contract = thriftpy2.load(str(ROOT / "predictor.thrift"), module_name="predictor_over_http_thrift")

    def ask() -> None:
        it = thriftpy2.http.make_client(contract.Predictor, url=url, proto_factory=protocol, timeout=30_000)
        assert it.predict(TEXT, None) == pytest.approx(SCORES)
        assert it.predict("aa", None) == {"a": 1.0}
        it.close()

    await asyncio.to_thread(ask)


def message(protocol: Any, kind: int = TMessageType.CALL) -> bytes:
    """A call of predict."""
    buffer = TMemoryBuffer()
    writer = protocol(buffer)
    writer.writeMessageBegin("predict", kind, 1)
    Predictor.predict_args("a").write(writer)
    writer.writeMessageEnd()
    content: bytes = buffer.getvalue()
    return content


async def post(url: str, body: bytes, content_type: str = "application/x-thrift") -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers={"Content-Type": content_type}) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.read()


@pytest.mark.parametrize(
    ("content_type", "protocol"),
    [
        ("application/vnd.apache.thrift.binary", TBinaryProtocol),
        ("application/vnd.apache.thrift.compact", TCompactProtocol),
        ("application/vnd.apache.thrift.json", TJSONProtocol),
        ("application/json", TJSONProtocol),
    ],
)
async def test_the_answer_has_the_questions_content_type(url: str, content_type: str, protocol: Any) -> None:
    call = message(protocol)
    status, answered, body = await post(url, call, f"{content_type}; charset=utf-8")
    assert (status, answered) == (200, content_type)
    assert body.startswith(call[:1])
    other = message(TJSONProtocol if protocol is TBinaryProtocol else TBinaryProtocol)
    status, _, body = await post(url, other, content_type)
    assert (status, b"expected a message of the" in body) == (400, True)


async def test_a_oneway_call_has_an_empty_answer(url: str) -> None:
    for protocol in (TBinaryProtocol, TCompactProtocol, TJSONProtocol):
        assert (await post(url, message(protocol, TMessageType.ONEWAY)))[::2] == (200, b"")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b"", "application/x-thrift", 400, b"expected a message of Thrift, without a frame"),
        (b"hello", "application/x-thrift", 400, b"expected a message of Thrift, without a frame"),
        (b"a=b", "application/x-www-form-urlencoded", 415, b"application/x-thrift or "),
    ],
)
async def test_what_is_no_message_is_refused(
    url: str, body: bytes, content_type: str, status: int, text: bytes
) -> None:
    found, _, answer = await post(url, body, content_type)
    assert (found, text in answer) == (status, True)


async def test_a_server_that_is_gone_is_unavailable(new_proxy: Callable[..., Any]) -> None:
    proxy = await new_proxy(Address("127.0.0.1", 9))
    status, _, answer = await post(f"{proxy.url}/thrift", message(TBinaryProtocol))
    assert (status, b"no server can be reached" in answer) == (503, True)
