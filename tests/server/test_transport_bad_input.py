"""Bad input gets a clear answer or a closed connection, and harms nobody else.

Every test ends with a good request on a new connection (the fixture `server` sees to it).
"""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictor.ttypes import BatchRequest, ErrorCode, PredictionError, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from server.transport.limits import Limits
from tests.server.thrift_clients import BY_NAME, client
from tests.server.transport_service import (
    PROTOCOLS,
    Peer,
    RunningServer,
    envelope,
    frame,
    message,
    read_answer,
    refused,
    running,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
STRING = b"\x0b\0\1"
"""Head of field 1, a string, in binary."""

each_framing = pytest.mark.parametrize("framed", [True, False], ids=["framed", "unframed"])
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=["binary", "compact"])


@pytest.fixture
def server(thrift_server: RunningServer) -> Iterator[RunningServer]:
    """A server that must still answer when the test is over."""
    bad = thrift_server.server.counters.bad_messages
    yield thrift_server
    assert thrift_server.server.counters.bad_messages > bad, "the bad input was not counted"
    thrift_server.answers()


def size(count: int) -> bytes:
    return count.to_bytes(4, "big", signed=True)


def ask(server: RunningServer, data: bytes, *, framed: bool, protocol: Any = TBinaryProtocol) -> Any:
    """Send a message; its answer. A framed connection must survive it."""
    with Peer(server.port) as peer:
        peer.send(frame(data) if framed else data)
        seqid, answer = peer.answer(framed=framed, protocol=protocol)
        assert seqid == 1
        if framed:
            peer.send(frame(message("predict", "next", seqid=2, protocol=protocol)))
            assert peer.answer(framed=True, protocol=protocol) == (2, {"next": 4.0})
        return answer


# --------------------------------------------------------------------------------------------------- not Thrift at all

FOREIGN = {
    "http get": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP request on the Thrift port; the REST proxy"),
    "http post": (b"POST /predict HTTP/1.1\r\n\r\n", "HTTP request on the Thrift port"),
    "http put": (b"PUT / HTTP/1.1\r\n", "HTTP request"),
    "http head": (b"HEAD / HTTP/1.1\r\n", "HTTP request"),
    "http options": (b"OPTIONS * HTTP/1.1\r\n", "HTTP request"),
    "http delete": (b"DELETE / HTTP/1.1\r\n", "HTTP request"),
    "http patch": (b"PATCH / HTTP/1.1\r\n", "HTTP request"),
    "http connect": (b"CONNECT x:1 HTTP/1.1\r\n", "HTTP request"),
    "http trace": (b"TRACE / HTTP/1.1\r\n", "HTTP request"),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP request"),
    "tls": (bytes.fromhex("16030100c4010000c0"), "TLS on the Thrift port"),
    "letters": (b"GOOD DAY TO YOU", "no Thrift"),
    "zeros": (bytes(64), "no Thrift"),
    "ones": (b"\xff" * 64, "no Thrift"),
    "another version of the binary protocol": (b"\x80\x02\0\1\0\0\0\7predict\0\0\0\1", "no Thrift"),
    "another version of the compact protocol": (b"\x82\x22\1\7predict\0", "no Thrift"),
    "a frame of nothing known": (frame(b"\x99" * 20), "no Thrift"),
    "an endless name": (b"\x80\x01\0\1\x7f\xff\xff\xffpredict", "no Thrift"),
    "an endless compact name": (b"\x82\x21\1\xff\xff\xff\xff\x07predict", "no Thrift"),
    "an endless compact number": (b"\x82\x21\xff\xff\xff\xff\xff\xffpredict", "no Thrift"),
    "a frame that ends in the name": (frame(b"\x80\x01\0\1\0\0\0\7pre"), "without a Thrift message"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_thrift_is_logged_and_closed(server: RunningServer, name: str) -> None:
    data, text = FOREIGN[name]
    before = len(server.log.find("warning", text))
    with Peer(server.port) as peer:
        peer.send(data)
        assert peer.is_closed()
        host, port = peer.socket.getsockname()
        lines = server.log.find("warning", text)[before:]
        assert [line["peer"] for line in lines] == [f"{host}:{port}"]
        assert lines[0]["first_bytes"] == data[:16].hex(" ")


def test_http_in_single_bytes(server: RunningServer) -> None:
    before = len(server.log.find("warning", "HTTP request"))
    with Peer(server.port) as peer:
        for byte in b"OPTIONS ":
            peer.send(bytes([byte]))
        assert peer.is_closed()
    assert len(server.log.find("warning", "HTTP request")) == before + 1


def test_garbage_after_good_messages(server: RunningServer) -> None:
    """What was asked before the garbage is answered, in order, before the connection ends."""
    for wrap in (frame, bytes):
        with Peer(server.port) as peer:
            peer.send(wrap(message("predict", "future:0.05")) + wrap(b"\x80\x07garbage, garbage"))
            assert peer.answer(framed=wrap is frame) == (1, {"future:0.05": 11.0})
            assert peer.is_closed()


def test_random_bytes(server: RunningServer) -> None:
    generator = random.Random(20)
    for _ in range(200):
        with Peer(server.port) as peer:
            peer.send(generator.randbytes(generator.randrange(1, 400)))
    server.answers()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_messages(thrift_server: RunningServer, data: st.DataObject) -> None:
    """A message with some of its bytes replaced: an answer, or the end, or a wait for more; never a fault of ours."""
    protocol = data.draw(st.sampled_from(PROTOCOLS))
    options = RequestOptions("model", 5, 1, "id")
    request = BatchRequest("predict", None, "in", "out", 1)
    whole = data.draw(
        st.sampled_from(
            [
                message("predict", "a document", options, protocol=protocol),
                message("predict_batch", ["a", "b"], options, protocol=protocol),
                message("submit_batch", request, protocol=protocol),
            ]
        )
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    framed = data.draw(st.booleans())
    with Peer(thrift_server.port) as peer:
        peer.send(frame(bytes(damaged)) if framed else bytes(damaged))
    thrift_server.answers()
    assert not thrift_server.log.find("error", "call failed")


# ------------------------------------------------------------------------------------------------------------- sizes


@each_framing
@each_protocol
def test_a_document_of_100_megabytes(server: RunningServer, framed: bool, protocol: Any) -> None:
    """It is refused by name while it comes, its sender reads the answer, and a framed connection goes on."""
    document = b"a" * 100 * MIB
    length = size(len(document)) if protocol is TBinaryProtocol else bytes([0x80, 0x80, 0x80, 0x32])
    head = STRING if protocol is TBinaryProtocol else b"\x18"
    data = envelope("predict", protocol=protocol) + head + length + document + b"\0"
    answer = ask(server, data, framed=framed, protocol=protocol)
    if framed:
        whole = f"message of {len(data)} bytes is over the limit of 16777216 bytes (setting message_bytes)"
        refused(answer, ErrorCode.TOO_LARGE, whole)
    else:
        text = "argument doc: a string of 104857600 bytes is over the limit of 16777216 (setting string_bytes)"
        refused(answer, ErrorCode.TOO_LARGE, text)


@pytest.mark.parametrize("name", ["unframed-binary-accelerated", "framed-binary-accelerated", "header-binary"])
def test_a_real_client_reads_the_answer_to_a_document_over_the_limit(server: RunningServer, name: str) -> None:
    """It sends all of it before it reads; the server must not reset the connection meanwhile."""
    with client(server.port, BY_NAME[name]) as it:
        if name == "header-binary":
            it._oprot.trans.set_max_frame_size(1 << 29)
        with pytest.raises((PredictionError, TApplicationException), match="over the limit of 16777216"):
            it.predict("a" * 20 * MIB, None)


def test_a_frame_of_two_gigabytes(server: RunningServer) -> None:
    """It cannot be skipped: the answer is the last thing on the connection."""
    with Peer(server.port) as peer:
        peer.send(b"\x7f\xff\xff\xff" + envelope("predict"))
        refused(peer.answer(framed=True)[1], ErrorCode.TOO_LARGE, "message of 2147483647 bytes", "message_bytes")
        assert peer.is_closed()


def test_a_frame_of_two_gigabytes_for_an_unknown_method(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(b"\x7f\xff\xff\xff" + envelope("nothing"))
        answer = peer.answer(framed=True)[1]
        assert isinstance(answer, TApplicationException)
        assert "message_bytes" in answer.message


def test_a_frame_of_two_gigabytes_with_a_header(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(b"\x7f\xff\xff\xff" + bytes.fromhex("0fff 0000 0000002a"))
        content = peer.receive_frame()
        assert content[:8] == bytes.fromhex("0fff 0000 0000002a")
        assert b"setting message_bytes" in content


@each_framing
def test_a_string_longer_than_its_message(server: RunningServer, framed: bool) -> None:
    data = envelope("predict") + STRING + size(2**31 - 1) + b"abc\0"
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "argument doc", "2147483647 bytes", "string_bytes")
    if framed:
        data = envelope("predict") + STRING + size(1000) + b"abc\0"
        refused(ask(server, data, framed=True), ErrorCode.INVALID_ARGUMENT, "argument doc", "996 bytes are missing")


@each_framing
@pytest.mark.parametrize("count", [-1, -(2**31)])
def test_negative_sizes(server: RunningServer, framed: bool, count: int) -> None:
    data = envelope("predict") + STRING + size(count) + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"argument doc: a string of {count} bytes")
    data = envelope("predict_batch") + b"\x0f\0\1\x0b" + size(count) + b"\0"
    refused(
        ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"argument docs: a container of {count} items"
    )
    data = envelope("predict") + b"\x0d\0\x63\x0b\x0b" + size(count) + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"argument field 99: a container of {count}")


@each_framing
def test_negative_sizes_in_compact(server: RunningServer, framed: bool) -> None:
    begin = envelope("predict_batch", protocol=TCompactProtocol)
    for data, text in (
        (begin + b"\x19\xf8\xff\xff\xff\xff\x0f\0", "argument docs: a container of -1 items"),
        (begin + b"\x19\x18\xff\xff\xff\xff\x0f\0", "argument docs[0]: a string of -1 bytes"),
        (begin + b"\x1b\xff\xff\xff\xff\x0f\0", "argument docs is map, not list"),
        (begin + b"\x5b\xff\xff\xff\xff\x0f\0", "argument field 5: a container of -1 items"),
        (begin + b"\x55\xff\xff\xff\xff\xff\xff\0", "argument field 5: a number of more than 5 bytes"),
        (begin + b"\x5e", "the arguments: there is no compact type 14"),
    ):
        refused(ask(server, data, framed=framed, protocol=TCompactProtocol), ErrorCode.INVALID_ARGUMENT, text)


@each_framing
@each_protocol
def test_too_many_items(server: RunningServer, framed: bool, protocol: Any) -> None:
    data = message("predict_batch", [""] * 100_001, protocol=protocol)
    text = "argument docs: 100001 items are over the limit of 100000 (setting container_items)"
    refused(ask(server, data, framed=framed, protocol=protocol), ErrorCode.TOO_LARGE, text)


@each_framing
def test_too_many_items_in_unknown_fields(server: RunningServer, framed: bool) -> None:
    empty_list = b"\x02" + size(0)
    lists = b"\x0f\0\x63\x0f" + size(60_000) + empty_list * 59_999 + b"\x02" + size(60_000) + bytes(60_000)
    data = envelope("predict") + STRING + size(1) + b"a" + lists + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "120000 items are", "container_items")


@each_framing
def test_too_many_fields(server: RunningServer, framed: bool) -> None:
    data = envelope("predict") + b"\x02\0\x63\1" * 10_001 + STRING + size(1) + b"a\0"
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "over the limit of 10000 (setting message_fields)")


@each_framing
@each_protocol
@pytest.mark.parametrize("kind", ["struct", "list", "map"])
def test_nesting(server: RunningServer, framed: bool, protocol: Any, kind: str) -> None:
    """31 levels in an unknown field are passed over, 32 refused: with the arguments themselves that is one too many."""
    for levels in (31, 32, 63, 2000):
        data = envelope("predict", protocol=protocol) + nested(kind, levels, protocol)
        answer = ask(server, data, framed=framed, protocol=protocol) if levels > 31 else None
        if levels > 31:
            refused(answer, ErrorCode.TOO_LARGE, "over the limit of 32 (setting nesting)")
        else:
            with Peer(server.port) as peer:
                peer.send(frame(data) if framed else data)
                assert peer.answer(framed=framed, protocol=protocol) == (1, {"deep": 4.0})


def nested(kind: str, levels: int, protocol: Any) -> bytes:
    """Arguments of predict: the document "deep" and a field 9 of so many structs or containers inside each other."""
    if protocol is TBinaryProtocol:
        doc, field = (
            STRING + size(4) + b"deep",
            {"struct": b"\x0c\0\x09", "list": b"\x0f\0\x09", "map": b"\x0d\0\x09"}[kind],
        )
        inner = {
            "struct": field * (levels - 1) + bytes(levels),
            "list": (b"\x0f" + size(1)) * (levels - 1) + b"\x02" + size(0),
            "map": (b"\x02\x0d" + size(1) + b"\1") * (levels - 1) + b"\x02\x02" + size(0),
        }[kind]
    else:
        doc, field = b"\x18\x04deep", {"struct": b"\x8c", "list": b"\x89", "map": b"\x8b"}[kind]
        inner = {
            "struct": b"\x1c" * (levels - 1) + bytes(levels),
            "list": b"\x19" * (levels - 1) + b"\x02",
            "map": b"\x01\x1b\x01" * (levels - 1) + b"\0",
        }[kind]
    return doc + field + inner + b"\0"


def test_an_unframed_message_of_many_small_parts() -> None:
    """Its size is known only when it ends; the limit counts what is there."""
    with running(Limits(message_bytes=1000)) as server:
        for protocol in PROTOCOLS:
            data = message("predict_batch", ["a" * 20] * 100, protocol=protocol)
            for piece in (len(data), 100):
                with Peer(server.port) as peer:
                    for start in range(0, len(data), piece):
                        peer.send(data[start : start + piece])
                    refused(
                        peer.answer(framed=False, protocol=protocol)[1],
                        ErrorCode.TOO_LARGE,
                        "of 1000 bytes (setting message_bytes)",
                    )
                    assert peer.is_closed()
        server.answers()


def test_memory_does_not_grow_by_what_is_claimed(thrift_server: RunningServer) -> None:
    """300 connections that claim 16 MiB each in every way there is, and send a few bytes of it."""
    string = size(16 * MIB - 100) + b"abc"
    claims = [
        size(16 * MIB) + envelope("predict") + STRING + string,
        envelope("predict") + STRING + string,
        envelope("predict_batch") + b"\x0f\0\1\x0b" + size(100_000) + string,
        envelope("predict_batch", protocol=TCompactProtocol) + b"\x19\xf8\xa0\x8d\x06",
        frame(envelope("predict_batch") + b"\x0f\0\1\x0b" + size(100_000) + b"\0"),
        frame(envelope("predict") + STRING + string),
    ]
    thrift_server.answers()
    before = resident_mib()
    peers = [Peer(thrift_server.port) for _ in range(300)]
    for number, peer in enumerate(peers):
        peer.send(claims[number % len(claims)])
    until(lambda: thrift_server.server.connections >= 300)
    thrift_server.answers()
    grown = resident_mib() - before
    for peer in peers:
        peer.socket.close()
    assert grown < 30, f"{grown} MiB for 300 connections"


def resident_mib() -> float:
    """This process's resident memory; the server is in it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


# ------------------------------------------------------------------------------------------------------- wrong messages


@each_framing
@each_protocol
def test_an_unknown_method(server: RunningServer, framed: bool, protocol: Any) -> None:
    with Peer(server.port) as peer:
        wrap = frame if framed else bytes
        body = message("predict", "an argument", RequestOptions(timeout_ms=1), protocol=protocol)
        body = body[len(envelope("predict", protocol=protocol)) :]
        peer.send(wrap(envelope("no_such_method", protocol=protocol) + body))
        _, answer = peer.answer(framed=framed, protocol=protocol)
        assert isinstance(answer, TApplicationException)
        assert answer.type == TApplicationException.UNKNOWN_METHOD
        assert "no_such_method" in answer.message
        peer.send(wrap(message("predict", "next", seqid=2, protocol=protocol)))
        assert peer.answer(framed=framed, protocol=protocol) == (2, {"next": 4.0})


@each_framing
@pytest.mark.parametrize("kind", [TMessageType.REPLY, TMessageType.EXCEPTION, 0, 7])
def test_a_message_that_is_no_call(server: RunningServer, framed: bool, kind: int) -> None:
    with Peer(server.port) as peer:
        wrap = frame if framed else bytes
        peer.send(wrap(message("predict", "a", kind=kind)))
        _, answer = peer.answer(framed=framed)
        assert isinstance(answer, TApplicationException)
        assert answer.type == TApplicationException.INVALID_MESSAGE_TYPE
        peer.send(wrap(message("predict", "next", seqid=2)))
        assert peer.answer(framed=framed) == (2, {"next": 4.0})


WRONG_TYPES = {
    "doc": ("predict", b"\x08\0\1" + size(5) + b"\0", "argument doc is i32, not string"),
    "options": (
        "predict",
        STRING + size(1) + b"a" + b"\x08\0\2" + size(5) + b"\0",
        "argument options is i32, not struct",
    ),
    "timeout_ms": (
        "predict",
        STRING + size(1) + b"a" + b"\x0c\0\2" + b"\x0b\0\2" + size(2) + b"10" + b"\0\0",
        "argument options.timeout_ms is string, not i32",
    ),
    "docs": ("predict_batch", STRING + size(1) + b"a\0", "argument docs is string, not list"),
    "an item of docs": (
        "predict_batch",
        b"\x0f\0\1\x08" + size(1) + size(7) + b"\0",
        "argument docs holds i32, not string",
    ),
    "an item of options": (
        "generate",
        STRING + size(1) + b"a" + b"\x0c\0\2" + b"\x0f\0\6\x0a" + size(1) + bytes(8) + b"\0\0",
        "argument generation_options.stop holds i64, not string",
    ),
    "a type that does not exist": ("predict", b"\x63\0\1" + b"\0", "argument doc is type 99, not string"),
    "an unknown field of no type": ("predict", b"\x63\0\x31" + b"\0", "argument field 49: there is no Thrift type 99"),
}


@each_framing
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_wrong_argument_type(server: RunningServer, framed: bool, name: str) -> None:
    method, body, text = WRONG_TYPES[name]
    refused(ask(server, envelope(method) + body, framed=framed), ErrorCode.INVALID_ARGUMENT, text)


MISSING = {
    "predict": ((None, None), "argument doc is missing"),
    "predict_batch": ((None, RequestOptions(timeout_ms=1)), "argument docs is missing"),
    "generate_next": (("s", None), "argument wait_ms is missing"),
    "load_model": (("m", None), "argument location is missing"),
    "submit_batch": ((None,), "argument request is missing"),
}


@each_framing
@each_protocol
@pytest.mark.parametrize("method", MISSING)
def test_a_missing_argument(server: RunningServer, framed: bool, protocol: Any, method: str) -> None:
    arguments, text = MISSING[method]
    data = message(method, *arguments, protocol=protocol)
    refused(ask(server, data, framed=framed, protocol=protocol), ErrorCode.INVALID_ARGUMENT, text)


@each_framing
def test_a_struct_without_a_required_field(server: RunningServer, framed: bool) -> None:
    data = message("submit_batch", BatchRequest("predict", None, None, "out"))
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, "argument request", "input")


@each_framing
@each_protocol
@pytest.mark.parametrize("text", [b"\xff", b"ab\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"ok \xef\xbf\xbd \xfe"])
def test_invalid_utf8(server: RunningServer, framed: bool, protocol: Any, text: bytes) -> None:
    stand_in = "@" * len(text)
    for method, doc, name in (("predict", stand_in, "doc"), ("predict_batch", ["fine", stand_in], "docs[1]")):
        data = message(method, doc, protocol=protocol).replace(stand_in.encode(), text)
        answer = ask(server, data, framed=framed, protocol=protocol)
        refused(answer, ErrorCode.INVALID_ARGUMENT, f"argument {name} is not UTF-8")


def test_an_empty_document_is_fine(thrift_server: RunningServer) -> None:
    with client(thrift_server.port) as it:
        assert it.predict("", None) == {"": 0.0}


@each_protocol
def test_bytes_left_over_in_a_frame(server: RunningServer, protocol: Any) -> None:
    data = message("predict", "a", protocol=protocol) + b"more"
    answer = ask(server, data, framed=True, protocol=protocol)
    refused(answer, ErrorCode.INVALID_ARGUMENT, "4 bytes are left over at the message's end")


@each_protocol
def test_a_frame_that_ends_anywhere(server: RunningServer, protocol: Any) -> None:
    """Cut off within the arguments, at every byte."""
    data = message("predict", "a document", RequestOptions("m", 5), protocol=protocol)
    for end in range(len(envelope("predict", protocol=protocol)), len(data)):
        answer = ask(server, data[:end], framed=True, protocol=protocol)
        refused(answer, ErrorCode.INVALID_ARGUMENT, "missing at the message's end")


# -------------------------------------------------------------------------------------------------------------- headers


def header_frame(payload: bytes, *, protocol_id: int = 0, transforms: bytes = b"\0", seqid: int = 5) -> bytes:
    """A frame with a header; `transforms` is their count and ids."""
    header = bytes([protocol_id]) + transforms
    header += bytes(-len(header) % 4)
    start = bytes.fromhex("0fff 0000") + size(seqid) + (len(header) // 4).to_bytes(2, "big")
    return frame(start + header + payload)


HEADERS = {
    "unknown protocol": (header_frame(b"", protocol_id=3), "unknown protocol 3"),
    "unknown transform": (header_frame(b"", transforms=b"\1\2"), "Unknown transform: 2"),
    "two transforms": (
        header_frame(zlib.compress(zlib.compress(b"")), transforms=b"\2\1\1"),
        "more than one transform",
    ),
    "no zlib": (header_frame(b"not compressed", transforms=b"\1\1"), "header: "),
    "bomb": (header_frame(zlib.compress(bytes(17 * MIB)), transforms=b"\1\1"), "exceeds maximum allowed size"),
    "header longer than its frame": (frame(bytes.fromhex("0fff 0000 00000005 ffff 0000")), "larger than whole frame"),
    "short": (frame(bytes.fromhex("0fff 0000 00")), "header: "),
}


@pytest.mark.parametrize("name", HEADERS)
def test_bad_headers(server: RunningServer, name: str) -> None:
    data, text = HEADERS[name]
    with Peer(server.port) as peer:
        peer.send(data)
        content = peer.receive_frame()
        assert content[:2] == b"\x0f\xff"
        assert text.encode() in content
        assert content[4:8] == (size(0) if name == "short" else size(5))
        payload = header_frame(message("predict", "next", seqid=6), seqid=6)
        peer.send(payload)
        content = peer.receive_frame()
        seqid, answer = read_answer(TBinaryProtocol(TMemoryBuffer(content[content.index(b"\x80\x01") :])))
        assert (seqid, answer) == (6, {"next": 4.0})
