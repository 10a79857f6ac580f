"""What claims or is too much gets a clear answer or a closed connection, costs no memory, and harms nobody else.

Every test ends with a good request on a new connection (the fixture `server` sees to it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from predictor.ttypes import ErrorCode, PredictionError
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException

from server.config.ports import MESSAGE_BYTES
from server.transport.limits import Limits
from tests.server.transport.bad_input import STRING, ask, each_framing, each_protocol, size
from tests.server.transport.service import (
    PROTOCOLS,
    Peer,
    RunningServer,
    envelope,
    frame,
    message,
    refused,
    running,
    until,
)
from tests.server.transport.thrift_clients import BY_NAME, client

MIB = 1 << 20


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
        whole = f"message of {len(data)} bytes is over the limit of 16382976 bytes (setting message_bytes)"
        refused(answer, ErrorCode.TOO_LARGE, whole)
    else:
        text = "doc: a string of 104857600 bytes is over the limit of 16382976 (setting string_bytes)"
        refused(answer, ErrorCode.TOO_LARGE, text)


@pytest.mark.parametrize("name", ["unframed-binary-accelerated", "framed-binary-accelerated", "header-binary"])
def test_a_real_client_reads_the_answer_to_a_document_over_the_limit(server: RunningServer, name: str) -> None:
    """It sends all of it before it reads; the server must not reset the connection meanwhile."""
    with client(server.port, BY_NAME[name]) as it:
        if name == "header-binary":
            it._oprot.trans.set_max_frame_size(1 << 29)
        with pytest.raises((PredictionError, TApplicationException), match="over the limit of 16382976"):
            it.predict("a" * 20 * MIB, None)


def test_an_answer_as_long_as_a_message_may_be_is_read_by_clients_of_apache(thrift_server: RunningServer) -> None:
    """They refuse a frame of more than 16,384,000 bytes."""
    text = "a" * (MESSAGE_BYTES - 60)
    with client(thrift_server.port, BY_NAME["header-binary"]) as it:
        assert it.generate_next(text, 250).text == f"{text} after 250"


@each_framing
def test_an_answer_over_the_limit_is_an_error(framed: bool) -> None:
    """800 documents of 20 bytes are no long message, but their answers are one."""
    docs = [f"document {number:11}" for number in range(800)]
    with running(Limits(message_bytes=20_000)) as server:
        name = "framed-binary-accelerated" if framed else "unframed-binary-accelerated"
        with client(server.port, BY_NAME[name]) as it:
            with pytest.raises(PredictionError, match="the answer has 30409 bytes, over the limit of 20000") as caught:
                it.predict_batch(docs, None)
            assert (caught.value.code, caught.value.setting) == (ErrorCode.TOO_LARGE, "message_bytes")
            assert len(it.predict_batch(docs[:400], None)) == 400


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
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "doc", "2147483647 bytes", "string_bytes")
    if framed:
        data = envelope("predict") + STRING + size(1000) + b"abc\0"
        refused(ask(server, data, framed=True), ErrorCode.INVALID_ARGUMENT, "doc", "996 bytes are missing")


@each_framing
@pytest.mark.parametrize("count", [-1, -(2**31)])
def test_negative_sizes(server: RunningServer, framed: bool, count: int) -> None:
    data = envelope("predict") + STRING + size(count) + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"doc: a string of {count} bytes")
    data = envelope("predict_batch") + b"\x0f\0\1\x0b" + size(count) + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"docs: a container of {count} items")
    data = envelope("predict") + b"\x0d\0\x63\x0b\x0b" + size(count) + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.INVALID_ARGUMENT, f"field 99: a container of {count}")


@each_framing
def test_negative_sizes_in_compact(server: RunningServer, framed: bool) -> None:
    begin = envelope("predict_batch", protocol=TCompactProtocol)
    for data, text in (
        (begin + b"\x19\xf8\xff\xff\xff\xff\x0f\0", "docs: a container of -1 items"),
        (begin + b"\x19\x18\xff\xff\xff\xff\x0f\0", "docs[0]: a string of -1 bytes"),
        (begin + b"\x1b\xff\xff\xff\xff\x0f\0", "docs: expected list, got map"),
        (begin + b"\x5b\xff\xff\xff\xff\x0f\0", "field 5: a container of -1 items"),
        (begin + b"\x55\xff\xff\xff\xff\xff\xff\0", "field 5: a number of more than 5 bytes"),
        (begin + b"\x5e", "there is no compact type 14"),
    ):
        refused(ask(server, data, framed=framed, protocol=TCompactProtocol), ErrorCode.INVALID_ARGUMENT, text)


@each_framing
@each_protocol
def test_too_many_items(server: RunningServer, framed: bool, protocol: Any) -> None:
    data = message("predict_batch", [""] * 100_001, protocol=protocol)
    text = "docs: 100001 items are over the limit of 100000 (setting container_items)"
    refused(ask(server, data, framed=framed, protocol=protocol), ErrorCode.TOO_LARGE, text)


@each_framing
def test_too_many_items_in_unknown_fields(server: RunningServer, framed: bool) -> None:
    lists = b"\x0f\0\x63\x0f" + size(2) + (b"\x03" + size(60_000) + bytes(60_000)) * 2
    data = envelope("predict") + STRING + size(1) + b"a" + lists + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "120002 items are", "container_items")


@each_framing
@pytest.mark.parametrize("kind", ["lists", "maps", "texts"])
def test_too_many_values_in_unknown_fields(server: RunningServer, framed: bool, kind: str) -> None:
    """Each is a step of the walk: 100 KB of them took the event loop a sixth of a second."""
    count = 10_001
    values = {
        "lists": b"\x0f\0\x63\x0f" + size(count) + (b"\x02" + size(0)) * count,
        "maps": b"\x0d\0\x63\x02\x0d" + size(count) + (b"\1\2\2" + size(0)) * count,
        "texts": b"\x0f\0\x63\x0b" + size(count) + size(0) * count,
    }
    data = envelope("predict") + STRING + size(1) + b"a" + values[kind] + b"\0"
    refused(ask(server, data, framed=framed), ErrorCode.TOO_LARGE, "over the limit of 10000 (setting message_fields)")


@each_framing
def test_numbers_in_unknown_fields_are_passed_over_in_one_step(server: RunningServer, framed: bool) -> None:
    numbers = b"\x0f\0\x63\x0a" + size(50_000) + bytes(400_000) + b"\x0d\0\x62\x03\x08" + size(9000) + bytes(45_000)
    data = envelope("predict") + STRING + size(1) + b"a" + numbers + b"\0"
    with Peer(server.port) as peer:
        peer.send(frame(data) if framed else data)
        assert peer.answer(framed=framed) == (1, {"a": 1.0})
    refused(ask(server, data[:-100], framed=True), ErrorCode.INVALID_ARGUMENT, "bytes are missing at the message's end")


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
