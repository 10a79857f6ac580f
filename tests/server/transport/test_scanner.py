"""The scanner finds the end of every message, however it is cut, and of anything else says what is wrong with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predictor import Predictor
from predictor.ttypes import BatchRequest, ErrorCode, GenerationOptions, PredictionError, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

from server.transport.codecs import COMPACT, STRICT
from server.transport.decoder import Decoder
from server.transport.detect import ForeignBytesError, Framing, detect
from server.transport.limits import Limits
from server.transport.methods import method_table
from server.transport.scanners.binary import BinaryScanner
from server.transport.scanners.compact import CompactScanner
from tests.server.transport.service import PROTOCOLS, Handler, envelope, frame, message

if TYPE_CHECKING:
    from server.transport.scanners.scanner import Scanner

CODECS = {TBinaryProtocol: STRICT, TCompactProtocol: COMPACT}
SCANNERS = {TBinaryProtocol: BinaryScanner, TCompactProtocol: CompactScanner}
LIMITS = Limits()
METHODS = method_table(Predictor, Handler(), Limits())

# ------------------------------------------------------------------------------------------------ structs of any shape

SCALARS = {
    TType.BOOL: st.booleans(),
    TType.BYTE: st.integers(-128, 127),
    TType.I16: st.integers(-(2**15), 2**15 - 1),
    TType.I32: st.integers(-(2**31), 2**31 - 1),
    TType.I64: st.integers(-(2**63), 2**63 - 1),
    TType.DOUBLE: st.floats(allow_nan=False),
    TType.STRING: st.binary(max_size=200),
    TType.UUID: st.uuids(),
}
TYPES = st.sampled_from(list(SCALARS))
VALUES = st.deferred(
    lambda: (
        TYPES.flatmap(lambda kind: st.tuples(st.just(kind), SCALARS[kind]))
        | st.tuples(st.just(TType.STRUCT), STRUCTS)
        | st.tuples(st.sampled_from([TType.LIST, TType.SET]), LISTS)
        | st.tuples(st.just(TType.MAP), MAPS)
    )
)
STRUCTS = st.lists(st.tuples(st.integers(-(2**15), 2**15 - 1), VALUES), max_size=4)
LISTS = st.one_of(
    TYPES.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(SCALARS[kind], max_size=20))),
    st.tuples(st.just(TType.STRUCT), st.lists(STRUCTS, max_size=3)),
)
MAPS = st.tuples(TYPES, TYPES).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(SCALARS[kinds[0]], SCALARS[kinds[1]]), max_size=5))
)


def write_struct(protocol: Any, fields: list[Any]) -> None:
    protocol.writeStructBegin("")
    for number, (kind, value) in fields:
        protocol.writeFieldBegin("", kind, number)
        write_value(protocol, kind, value)
        protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()


def write_value(protocol: Any, kind: int, value: Any) -> None:
    if kind == TType.STRUCT:
        write_struct(protocol, value)
    elif kind in (TType.LIST, TType.SET):
        inner, items = value
        protocol.writeListBegin(inner, len(items))
        for item in items:
            write_value(protocol, inner, item)
        protocol.writeListEnd()
    elif kind == TType.MAP:
        (key_kind, value_kind), items = value
        protocol.writeMapBegin(key_kind, value_kind, len(items))
        for key, item in items:
            write_value(protocol, key_kind, key)
            write_value(protocol, value_kind, item)
        protocol.writeMapEnd()
    else:
        write = {
            TType.BOOL: protocol.writeBool,
            TType.BYTE: protocol.writeByte,
            TType.I16: protocol.writeI16,
            TType.I32: protocol.writeI32,
            TType.I64: protocol.writeI64,
            TType.DOUBLE: protocol.writeDouble,
            TType.STRING: protocol.writeBinary,
            TType.UUID: protocol.writeUuid,
        }[kind]
        write(value)


def struct_bytes(protocol: Any, fields: list[Any]) -> bytes:
    buffer = TMemoryBuffer()
    write_struct(protocol(buffer), fields)
    return buffer.getvalue()


def new_scanner(protocol: Any, data: bytes | bytearray, spec: Any = None, end: int | None = None) -> Scanner:
    return SCANNERS[protocol](data, 0, 0, end, spec, LIMITS)


def advance_in_pieces(scanner: Scanner, data: bytes, cuts: list[int]) -> int:
    """Give the scanner the data piece by piece; how many of them it needed."""
    start = 0
    for number, cut in enumerate([*cuts, len(data)]):
        scanner.data += data[start:cut]
        start = cut
        if scanner.advance():
            return number
    raise AssertionError("the scanner did not find the end")


@settings(max_examples=150)
@given(st.sampled_from(PROTOCOLS), STRUCTS, st.binary(max_size=20), st.data())
def test_any_struct_cut_anywhere(protocol: Any, fields: list[Any], behind: bytes, draw: st.DataObject) -> None:
    """The end is found when the last byte is there and not before, and what comes behind does not matter."""
    data = struct_bytes(protocol, fields)
    whole = new_scanner(protocol, data + behind)
    assert whole.advance()
    assert whole.position == len(data)
    exact = new_scanner(protocol, data, end=len(data))
    assert exact.advance()
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=6)))
    pieces = new_scanner(protocol, bytearray())
    assert advance_in_pieces(pieces, data, cuts) == len(cuts)
    assert pieces.position == len(data)


@settings(max_examples=40)
@given(st.sampled_from(PROTOCOLS), STRUCTS)
def test_any_struct_cut_off(protocol: Any, fields: list[Any]) -> None:
    """In a frame that ends too early, at any byte, the scanner says so."""
    data = struct_bytes(protocol, fields)
    for end in range(len(data)):
        with pytest.raises(PredictionError, match="missing at the message's end"):
            new_scanner(protocol, data[:end], end=end).advance()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_single_bytes_of_every_method(protocol: Any) -> None:
    messages = {
        b"predict": message("predict", "für", RequestOptions("m", 5, 1, "id"), protocol=protocol),
        b"predict_batch": message("predict_batch", ["a", "", "c" * 300], protocol=protocol),
        b"generate": message(
            "generate", "p", GenerationOptions(5, 0.5, 3, 0.5, 1.5, ["x"], -(2**63)), protocol=protocol
        ),
        b"submit_batch": message("submit_batch", BatchRequest("p", "m", "i", "o", 1, 2**40, "k"), protocol=protocol),
        b"generate_next": message("generate_next", "s", -1, protocol=protocol),
        b"status": message("status", protocol=protocol),
    }
    for name, data in messages.items():
        body = data[len(envelope(name.decode(), protocol=protocol)) :]
        scanner = new_scanner(protocol, bytearray(), METHODS[name].argument_types[1])
        assert advance_in_pieces(scanner, body, list(range(1, len(body)))) == len(body) - 1


@settings(max_examples=500)
@given(st.sampled_from(PROTOCOLS), st.sampled_from(sorted(METHODS)), st.binary(max_size=2000), st.booleans())
def test_any_bytes(protocol: Any, name: bytes, data: bytes, framed: bool) -> None:
    """Found whole, found wanting or refused with an error of the contract; nothing else, and soon."""
    scanner = new_scanner(protocol, data, METHODS[name].argument_types[1], len(data) if framed else None)
    begin = time.thread_time()
    found = outcome(scanner)
    assert time.thread_time() - begin < 2
    if isinstance(found, PredictionError):
        assert found.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE)
        assert found.message
    else:
        assert found or not framed
        assert scanner.position <= len(data)


def outcome(scanner: Scanner) -> bool | PredictionError:
    """What `advance` returns or raises."""
    try:
        return scanner.advance()
    except PredictionError as error:
        return error


@settings(max_examples=150)
@given(st.sampled_from(PROTOCOLS), st.sampled_from(sorted(METHODS)), st.data())
def test_the_scanner_passes_only_what_the_decoder_can_decode(protocol: Any, name: bytes, draw: st.DataObject) -> None:
    """Arguments of the right types, of wrong types, unknown ones: what is passed is decoded, without a replacement."""
    spec = METHODS[name].argument_types[1]
    declared = [(field[0], field[1]) for field in spec if field]
    numbers = st.sampled_from([number for number, _ in declared] or [1]) | st.integers(1, 20)
    fields = draw.draw(st.lists(st.tuples(numbers, VALUES), max_size=4))
    data = struct_bytes(protocol, fields)
    if outcome(new_scanner(protocol, data, spec, len(data))) is not True:
        return
    arguments = Decoder(LIMITS).decode(CODECS[protocol], METHODS[name], data, 0, len(data))
    sent = dict(fields)
    for field in filter(None, spec):
        if field[0] in sent and field[1] == TType.STRING:
            assert getattr(arguments, field[2]).encode() == sent[field[0]][1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_pieces_cost_no_more_than_few(protocol: Any) -> None:
    """Every byte is looked at once: a message in ten times as many pieces does not take ten times as long."""

    def seconds(piece: int) -> float:
        body = message("predict_batch", ["word " * 4] * 20_000, protocol=protocol)
        body = body[len(envelope("predict_batch", protocol=protocol)) :]
        scanner = new_scanner(protocol, bytearray(), METHODS[b"predict_batch"].argument_types[1])
        start = time.process_time()
        advance_in_pieces(scanner, body, list(range(piece, len(body), piece)))
        return time.process_time() - start

    few, many = (min(seconds(piece) for _ in range(3)) for piece in (40_000, 40))
    assert many < 3 * few + 0.05


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_decoder_of_exact_messages_takes_no_others(protocol: Any) -> None:
    """It is the fast way; what it does not take, the scanner looks at."""
    codec, method, decoder = CODECS[protocol], METHODS[b"predict"], Decoder(LIMITS)
    begin = len(envelope("predict", protocol=protocol))
    good = message("predict", "a \ufffd", RequestOptions(timeout_ms=5), protocol=protocol)
    found = decoder.decode_exact(codec, method, good + b"behind", begin)
    assert found is not None
    arguments, end = found
    assert (arguments.doc, arguments.options.timeout_ms, end) == ("a \ufffd", 5, len(good))
    for bad in (
        good.replace("\ufffd".encode(), b"\xff\xff\xff"),
        good[:begin] + struct_bytes(protocol, [(1, (TType.I32, 5))]),
        good[:begin] + struct_bytes(protocol, [(1, (TType.STRING, b"a")), (9, (TType.BOOL, True))]),
        good[:-1],
    ):
        assert decoder.decode_exact(codec, method, bad, begin) is None


# ----------------------------------------------------------------------------------------------------------- detection

STARTS = {
    "unframed binary": (envelope("predict"), Framing.UNFRAMED),
    "unframed compact": (envelope("predict", protocol=TCompactProtocol), Framing.UNFRAMED),
    "unframed old": (b"\0\0\0\7predict\1\0\0\0\1", Framing.UNFRAMED),
    "framed binary": (frame(message("predict", "a")), Framing.FRAMED),
    "framed compact": (frame(message("predict", "a", protocol=TCompactProtocol)), Framing.FRAMED),
    "framed old": (frame(b"\0\0\0\7predict\1\0\0\0\1\0"), Framing.FRAMED),
    "framed old of 256 bytes": (b"\0\0\1\0\0\0\0\7predict", Framing.FRAMED),
    "header": (b"\0\0\0\x20\x0f\xff\0\0\0\0\0\1", Framing.FRAMED),
    "framed, as long as letters": (b"\0HTT" + envelope("predict"), Framing.FRAMED),
}


@pytest.mark.parametrize("name", STARTS)
def test_detection(name: str) -> None:
    """From the first bytes on that can tell, and never wrongly before."""
    data, framing = STARTS[name]
    seen = [detect(data[:size]) for size in range(1, len(data) + 1)]
    told = next(size for size, found in enumerate(seen) if found is not None)
    assert told <= 8
    assert seen[:told] == [None] * told
    assert set(seen[told:]) == {framing}


@settings(max_examples=500)
@given(st.binary(min_size=1, max_size=20))
def test_detection_of_any_bytes(data: bytes) -> None:
    """It comes to a conclusion within nine bytes, and what is foreign at first stays so."""
    try:
        found = detect(data)
    except ForeignBytesError:
        with pytest.raises(ForeignBytesError):
            detect(data + b"more")
    else:
        assert found is not None or len(data) < 9
