"""Thrift's JSON protocol: what is wrong with a message is said by its argument, and nothing takes long."""

from __future__ import annotations

import base64
import json
import math
import time
from typing import Any

import pytest
from predictor.ttypes import (
    BatchRequest,
    ErrorCode,
    GenerationOptions,
    Lane,
    PredictionError,
    RequestOptions,
    TokenLogprob,
)
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.TTransport import TMemoryBuffer

from server.transport.json_values import read_arguments, written
from server.transport.limits import Limits
from tests.server.transport.service import Peer, RunningServer, frame, refused, running
from tests.server.transport.thrift_clients import BY_NAME, client


def call(arguments: str, name: str = "predict") -> bytes:
    return f'[1,"{name}",1,1,{arguments}]'.encode()


def asked(server: RunningServer, data: bytes, *, framed: bool = True, name: str = "predict") -> Any:
    with Peer(server.port) as peer:
        peer.send(frame(data) if framed else data)
        return peer.answer(framed=framed, protocol=TJSONProtocol, method=name)[1]


STRUCTS = [
    RequestOptions('ä "quoted" \\ \n \x01 \U0001f600', 5, Lane.BULK, ""),
    RequestOptions(),
    GenerationOptions(
        stop=["a", ""], logit_bias={7: -0.5, 100_000: 1e-300}, seed=-(2**63), ignore_eos=True, temperature=0.1
    ),
    GenerationOptions(stop=[], logit_bias={}, ignore_eos=False),
    TokenLogprob(1, "x", bytes(range(256)), -1e-300, []),
    BatchRequest("predict", None, "in/", "out/", 1, 10, "id"),
]


@pytest.mark.parametrize("value", STRUCTS, ids=lambda value: type(value).__name__)
def test_it_writes_and_reads_what_the_thrift_package_does(value: Any) -> None:
    types = [type(value), value.thrift_spec]
    buffer = TMemoryBuffer()
    value.write(TJSONProtocol(buffer))
    assert json.loads(written(value, types)) == json.loads(buffer.getvalue(), strict=False)
    assert read_arguments(buffer.getvalue(), types, Limits()) == value
    read = type(value)()
    read.read(TJSONProtocol(TMemoryBuffer(written(value, types))))
    assert read == value


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_strings(number: float) -> None:
    """The thrift package reads them so, and writes what is no JSON."""
    types = [TokenLogprob, TokenLogprob.thrift_spec]
    content = written(TokenLogprob(1, "x", b"", number), types)
    assert read_arguments(content, types, Limits()).logprob == number
    read = TokenLogprob()
    read.read(TJSONProtocol(TMemoryBuffer(content)))
    assert read.logprob == number


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"1":{"i32":5}}', "doc: expected the type str, got 'i32'"),
        ('{"1":{"str":5}}', "doc: expected a string, got a number"),
        ('{"1":"a"}', "doc: expected a type and a value"),
        ('{"1":{}}', "doc: expected a type and a value"),
        ('{"x":{"str":"a"}}', "a field 'x'; fields have numbers"),
        ("{}", "doc: the argument is missing"),
        ('{"1":{"str":"\\ud800"}}', "doc: not UTF-8: half a surrogate pair"),
        ('{"1":{"str":"a"},"2":{"rec":[]}}', "options: expected a struct, got a list"),
        ('{"1":{"str":"a"},"2":{"rec":{"2":{"i32":1.5}}}}', "options.timeout_ms: expected a whole number of 32 bits"),
        ('{"1":{"str":"a"},"2":{"rec":{"2":{"i32":2147483648}}}}', "options.timeout_ms: expected a whole number"),
        ('{"1":{"str":"a"},}', "not JSON: "),
        ('{"1":{"str":"a"}', "bytes are left over|ends within its arguments|not JSON"),
    ],
)
def test_what_is_wrong_is_said(server: RunningServer, arguments: str, text: str) -> None:
    answer = asked(server, call(arguments))
    assert isinstance(answer, PredictionError), answer
    assert answer.code == ErrorCode.INVALID_ARGUMENT
    assert any(part in answer.message for part in text.split("|")), answer.message


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"1":{"lst":["str",3,"a","b"]}}', "docs: a container of 3 items that has 2"),
        ('{"1":{"lst":["str",-1]}}', "docs: a container of -1 items that has 0"),
        ('{"1":{"lst":["i32",1,5]}}', "docs: expected the type str, got 'i32'"),
        ('{"1":{"lst":["str",2,"a",5]}}', "docs[1]: expected a string, got a number"),
        ('{"1":{"lst":"a"}}', "docs: expected a type, a count and items, got a string"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(server: RunningServer, arguments: str, text: str) -> None:
    refused(asked(server, call(arguments, "predict_batch"), name="predict_batch"), ErrorCode.INVALID_ARGUMENT, text)


@pytest.mark.parametrize("framed", [True, False])
def test_limits(framed: bool) -> None:
    limits = Limits(string_bytes=100, container_items=10, nesting=4, message_bytes=5000, message_fields=20)
    with running(limits) as server:
        for arguments, text in (
            (
                '{"1":{"str":"' + "a" * 101 + '"}}',
                "doc: a string of 101 bytes is over the limit of 100 (setting string_",
            ),
            ('{"1":{"str":"' + "a" * 6000 + '"}}', "over the limit of 5000 bytes (setting message_bytes)"),
            ('{"9":{"lst":["i32",100' + ",1" * 100 + "]}}", "values over the limit of 90 (setting container_items)"),
            ('{"9":' + "[" * 20 + "]" * 20 + "}", "brackets inside each other over the limit of 12 (setting nesting)"),
        ):
            refused(asked(server, call(arguments), framed=framed), ErrorCode.TOO_LARGE, text)
        docs = '{"1":{"lst":["str",11' + ',"a"' * 11 + "]}}"
        answer = asked(server, call(docs, "predict_batch"), framed=framed, name="predict_batch")
        refused(answer, ErrorCode.TOO_LARGE, "docs: 11 items are over the limit of 10 (setting container_items)")
        server.answers()


def test_fields_of_a_newer_client_are_passed_over(thrift_server: RunningServer) -> None:
    arguments = '{"1":{"str":"a"},"77":{"lst":["rec",1,{"1":{"i32":5}}]},"-3":{"tf":1}}'
    assert asked(thrift_server, call(arguments)) == {"a": 1.0}


def test_strings_may_have_brackets_and_quotes(thrift_server: RunningServer) -> None:
    for text in ('}]"[{', "\\", '\\"', "]" * 500, '"' * 500, "\\" * 501):
        with client(thrift_server.port, BY_NAME["unframed-json"]) as it:
            assert it.predict(text, None) == {text[:100]: float(len(text))}
            assert it.predict("behind it", None) == {"behind it": 9.0}


@pytest.mark.parametrize("text", ["a" * 3_000_000, "\\\\" * 1_500_000, "\\u00e4" * 500_000])
def test_a_long_string_in_many_pieces_takes_no_long_time(thrift_server: RunningServer, text: str) -> None:
    data = call('{"1":{"str":"' + text + '"}}')
    with Peer(thrift_server.port) as peer:
        before = time.thread_time()
        for start in range(0, len(data), 4096):
            peer.send(data[start : start + 4096])
        answer = peer.answer(framed=False, protocol=TJSONProtocol)[1]
        assert list(answer.values()) == [float(len(json.loads(f'"{text}"')))]
        assert time.thread_time() - before < 30


def test_an_unknown_method_and_a_wrong_type_of_message(server: RunningServer) -> None:
    answer = asked(server, call("{}", "nothing"))
    assert "unknown method nothing" in answer.message
    answer = asked(server, b'[1,"predict",9,1,{}]')
    assert "message type 9 is no call" in answer.message


@pytest.mark.parametrize("data", [b"[2,", b'[1,"' + b"a" * 400, b"[[[[", b'[1,"predict",x,', b"[]"])
def test_brackets_that_are_no_message_close_the_connection(server: RunningServer, data: bytes) -> None:
    with Peer(server.port) as peer:
        peer.send(data + b" " * 400)
        assert peer.is_closed()


def test_binary_is_base64(thrift_server: RunningServer) -> None:
    with client(thrift_server.port, BY_NAME["framed-json"]) as it:
        assert it.embed_matrix(["a"], None, None).values == base64.b64decode("AP8AAA==")
