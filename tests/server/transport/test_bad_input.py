"""Bad input gets a clear answer or a closed connection, and harms nobody else.

Every test ends with a good request on a new connection (the fixture `server` sees to it).
"""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictor.ttypes import BatchRequest, ErrorCode, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from tests.server.transport.bad_input import STRING, ask, each_framing, each_protocol, size
from tests.server.transport.service import (
    PROTOCOLS,
    Peer,
    RunningServer,
    envelope,
    frame,
    message,
    read_answer,
    refused,
)
from tests.server.transport.thrift_clients import client

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
    "another version of the compact protocol": (b"\x82\x23\1\7predict\0", "no Thrift"),
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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    "doc": ("predict", b"\x08\0\1" + size(5) + b"\0", "doc: expected string, got i32"),
    "options": (
        "predict",
        STRING + size(1) + b"a" + b"\x08\0\2" + size(5) + b"\0",
        "options: expected struct, got i32",
    ),
    "timeout_ms": (
        "predict",
        STRING + size(1) + b"a" + b"\x0c\0\2" + b"\x0b\0\2" + size(2) + b"10" + b"\0\0",
        "options.timeout_ms: expected i32, got string",
    ),
    "docs": ("predict_batch", STRING + size(1) + b"a\0", "docs: expected list, got string"),
    "an item of docs": (
        "predict_batch",
        b"\x0f\0\1\x08" + size(1) + size(7) + b"\0",
        "docs: expected items of type string, got i32",
    ),
    "an item of options": (
        "generate",
        STRING + size(1) + b"a" + b"\x0c\0\2" + b"\x0f\0\6\x0a" + size(1) + bytes(8) + b"\0\0",
        "generation_options.stop: expected items of type string, got i64",
    ),
    "a type that does not exist": ("predict", b"\x63\0\1" + b"\0", "doc: expected string, got type 99"),
    "an unknown field of no type": ("predict", b"\x63\0\x31" + b"\0", "field 49: there is no Thrift type 99"),
}


@each_framing
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_wrong_argument_type(server: RunningServer, framed: bool, name: str) -> None:
    method, body, text = WRONG_TYPES[name]
    refused(ask(server, envelope(method) + body, framed=framed), ErrorCode.INVALID_ARGUMENT, text)


MISSING = {
    "predict": ((None, None), "doc: the argument is missing"),
    "predict_batch": ((None, RequestOptions(timeout_ms=1)), "docs: the argument is missing"),
    "generate_next": (("s", None), "wait_ms: the argument is missing"),
    "load_model": (("m", None), "location: the argument is missing"),
    "submit_batch": ((None,), "request: the argument is missing"),
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
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, "request.input: the field is missing")


@each_framing
@each_protocol
@pytest.mark.parametrize("text", [b"\xff", b"ab\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"ok \xef\xbf\xbd \xfe"])
def test_invalid_utf8(server: RunningServer, framed: bool, protocol: Any, text: bytes) -> None:
    stand_in = "@" * len(text)
    for method, doc, name in (("predict", stand_in, "doc"), ("predict_batch", ["fine", stand_in], "docs[1]")):
        data = message(method, doc, protocol=protocol).replace(stand_in.encode(), text)
        answer = ask(server, data, framed=framed, protocol=protocol)
        refused(answer, ErrorCode.INVALID_ARGUMENT, f"{name}: not UTF-8")


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
    "bomb": (
        header_frame(zlib.compress(bytes(15 << 20)), transforms=b"\1\1"),
        "its size or 1 MiB (setting inflate_ratio)",
    ),
    "large bomb": (
        header_frame(zlib.compress(bytes(17 << 20)) + bytes(1 << 18), transforms=b"\1\1"),
        "bytes (setting message_bytes)",
    ),
    "header longer than its frame": (frame(bytes.fromhex("0fff 0000 00000005 ffff 0000")), "longer than the frame"),
    "long header": (frame(bytes.fromhex("0fff 0000 00000005 1001") + bytes(4 * 0x1001)), "at most 16384 are taken"),
    "transforms up to the message": (header_frame(b"\1" * 1000, transforms=b"\xe8\7\1"), "it ends too early"),
    "a string of 2^64 bytes": (header_frame(b"", transforms=b"\0\1\1" + b"\x80" * 9 + b"\2"), "header: "),
    "short": (frame(bytes.fromhex("0fff 0000 00")), "the frame ends within it"),
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
