"""What a generated client speaks works, whatever it is, on one port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import thriftpy2.rpc
from predictor.ttypes import BatchRequest, ErrorCode, GenerationOptions, PredictionError, ReplyOptions, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TMessageType
from thrift.transport.TSocket import TSocket
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

from tests.server.transport.service import Peer, RunningServer, envelope, frame, message
from tests.server.transport.thrift_clients import DIALECTS, HOST, Dialect, client

if TYPE_CHECKING:
    from pathlib import Path

PYTEXT_IDL = """\
namespace cpp predictor_service
service Predictor { map<string,double> predict(1: string doc) }
"""

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@each_dialect
def test_predict(thrift_server: RunningServer, dialect: Dialect) -> None:
    with client(thrift_server.port, dialect) as it:
        assert it.predict("set an alarm", None) == {"set an alarm": 12.0}
        assert it.predict("", RequestOptions()) == {"": 0.0}
        assert it.predict("für \U0001f600 \ufffd", RequestOptions(timeout_ms=5)) == {
            "für \U0001f600 \ufffd": 7,
            "timeout_ms": 5,
        }
        long = "ü" * 300_000  # comes in several pieces
        assert it.predict(long, None) == {long[:100]: 300_000.0}
        with pytest.raises(PredictionError, match="queue is full") as caught:
            it.predict("error:", None)
        assert (caught.value.code, caught.value.retry_after_ms) == (ErrorCode.OVERLOADED, 50)
        assert it.predict("after it", None) == {"after it": 8.0}


@each_dialect
def test_every_kind_of_argument_and_result(thrift_server: RunningServer, dialect: Dialect) -> None:
    with client(thrift_server.port, dialect) as it:
        docs = [f"document {number}" for number in range(1000)]
        assert it.predict_batch(docs, None) == [{doc: float(len(doc))} for doc in docs]
        assert it.predict_batch([], None) == []
        assert it.reply("hi", None, ReplyOptions(threshold=0.25)) == {"hi": 0.25}
        assert it.embed("ab", None, None) == [97.0, 98.0]
        assert it.embed_matrix(["a", "b"], None, None).values == b"\0\xff\0\0" * 2
        options = GenerationOptions(max_tokens=5, temperature=0.5, stop=["a", "b"], seed=2**40)
        assert it.generate("hello", options, None).continuation == " world"
        assert it.generate_next("s", 250).text == "s after 250"
        assert it.generate_cancel("s") is None
        request = BatchRequest("predict", None, "in/", "out/", 1, 10, "id")
        assert it.submit_batch(request).request == request
        assert it.list_models()[0].details == {"labels": "2"}
        assert it.status().ready is True


class DrippingSocket(TSocket):
    """Sends each byte on its own."""

    def open(self) -> None:
        super().open()
        self.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self, buff: bytes) -> None:
        for byte in bytes(buff):
            super().write(bytes([byte]))


@each_dialect
def test_messages_in_single_bytes(thrift_server: RunningServer, dialect: Dialect) -> None:
    """Whatever part of a message has come, the server waits for the rest."""
    with client(thrift_server.port, dialect, socket_type=DrippingSocket) as it:
        answer = it.predict_batch(["one", "", "zwölf"], RequestOptions(timeout_ms=9, model="m"))
        assert answer == [{"one": 3.0}, {"": 0.0}, {"zwölf": 5.0}]
        assert it.predict("two", None) == {"two": 3.0}


@pytest.fixture(scope="module")
def pytext_idl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pytext") / "predictor_service.thrift"
    path.write_text(PYTEXT_IDL)
    return path


@pytest.fixture(scope="module")
def pytext_module(pytext_idl: Path) -> Any:
    """The PyText service's client as the Thrift compiler generates it."""
    compiler = shutil.which("thrift")
    assert compiler is not None, "the Thrift compiler is needed"
    folder = pytext_idl.parent
    subprocess.run([compiler, "--gen", "py", "-out", str(folder), str(pytext_idl)], check=True, timeout=60)
    sys.path.insert(0, str(folder))
    try:
        from predictor_service import Predictor  # type: ignore[import-not-found]  # generated above
    finally:
        sys.path.remove(str(folder))
    return Predictor


@each_dialect
def test_a_pytext_client_from_the_thrift_compiler(
    thrift_server: RunningServer, dialect: Dialect, pytext_module: Any
) -> None:
    with client(thrift_server.port, dialect, service=pytext_module) as it:
        assert it.predict("set an alarm") == {"set an alarm": 12.0}
        assert it.predict("again") == {"again": 5.0}


@pytest.mark.parametrize("transport", [TBufferedTransportFactory, TFramedTransportFactory])
@pytest.mark.parametrize("protocol", [TBinaryProtocolFactory, TCompactProtocolFactory])
def test_a_pytext_client_from_thriftpy2(
    thrift_server: RunningServer, transport: Any, protocol: Any, pytext_idl: Path
) -> None:
    service = thriftpy2.load(str(pytext_idl), module_name="pytext_thrift")
    with thriftpy2.rpc.client_context(
        service.Predictor, HOST, thrift_server.port, proto_factory=protocol(), trans_factory=transport()
    ) as it:
        assert it.predict("set an alarm") == {"set an alarm": 12.0}
        assert it.predict("again") == {"again": 5.0}


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("protocol", [TBinaryProtocol, TCompactProtocol])
def test_an_answer_repeats_its_sequence_id(thrift_server: RunningServer, framed: bool, protocol: Any) -> None:
    wrap = frame if framed else bytes
    with Peer(thrift_server.port) as peer:
        for seqid in (0, 1, 127, 128, 300, 2**31 - 1, -1, -(2**31)):
            peer.send(wrap(message("predict", "a", seqid=seqid, protocol=protocol)))
            assert peer.answer(framed=framed, protocol=protocol) == (seqid, {"a": 1.0})


def test_each_message_of_a_connection_may_have_its_own_protocol(thrift_server: RunningServer) -> None:
    with Peer(thrift_server.port) as peer:
        for protocol in (TBinaryProtocol, TCompactProtocol, TBinaryProtocol):
            peer.send(frame(message("predict", "a", protocol=protocol)))
            assert peer.answer(framed=True, protocol=protocol) == (1, {"a": 1.0})


@pytest.mark.parametrize("framed", [True, False])
def test_a_oneway_call_runs_and_is_not_answered(thrift_server: RunningServer, framed: bool) -> None:
    wrap = frame if framed else bytes
    started = thrift_server.handler.started
    with Peer(thrift_server.port) as peer:
        peer.send(wrap(message("predict", "raise:", seqid=1, kind=TMessageType.ONEWAY)))
        peer.send(wrap(envelope("no_such_method", seqid=2, kind=TMessageType.ONEWAY) + b"\0"))
        peer.send(wrap(message("predict", "b", seqid=3)))
        assert peer.answer(framed=framed) == (3, {"b": 1.0})
    assert thrift_server.handler.started == started + 2


def test_fields_of_a_newer_client_are_passed_over(thrift_server: RunningServer) -> None:
    """A field that the contract does not know, of every type, before and behind those that it knows."""
    fields = bytes.fromhex(
        "02 0021 01"  # bool
        "03 0022 01  06 0023 0001  08 0024 00000001  0a 0025 0000000000000001  04 0026 3ff0000000000000"
        "0b 0027 00000002 ffff"  # a string of bytes that are not text
        "0c 0028 08 0001 00000001 00"  # struct
        "0d 0029 0b 08 00000001 00000001 61 00000007"  # map<string, i32>
        "0e 002a 02 00000002 01 00"  # set<bool>
        "0f 002b 0c 00000001 00"  # list of a struct without fields
        "10 002c 000102030405060708090a0b0c0d0e0f"  # uuid
    )
    doc = bytes.fromhex("0b 0001 00000003") + b"new"
    for body in (fields + doc + b"\0", doc + fields + b"\0"):
        for wrap in (frame, bytes):
            with Peer(thrift_server.port) as peer:
                peer.send(wrap(envelope("predict") + body))
                assert peer.answer(framed=wrap is frame) == (1, {"new": 3.0})
