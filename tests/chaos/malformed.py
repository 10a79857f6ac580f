"""Requests that are wrong, in every way that comes to mind and in many that come by chance."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from predictor.ttypes import EmbedOptions, GenerationOptions, RequestOptions
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol

from tests.chaos.questions import call_of as message
from tests.chaos.questions import post
from tests.server.transport.service import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

HUGE = 2**31 - 1


class Malformed(NamedTuple):
    """Bytes for one of the ports."""

    name: str
    port: str
    data: bytes


def malformed(rng: Random, good: Sequence[tuple[str, bytes]]) -> Malformed:
    """One of them; `good` are (port, bytes) of right requests, some of which are spoilt."""
    kind = rng.choice(_KINDS)
    return kind(rng) if kind is not _spoilt else _spoilt_one(rng, good)


def _spoilt(rng: Random) -> Malformed:
    raise AssertionError("see malformed")


def _spoilt_one(rng: Random, good: Sequence[tuple[str, bytes]]) -> Malformed:
    """A right request with some of its bytes changed, cut out or doubled. It may be a right one still."""
    port, data = rng.choice(good)
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(spoilt))
        way = rng.randrange(4)
        if way == 0:
            spoilt[at] = rng.randrange(256)
        elif way == 1:
            del spoilt[at : at + rng.randint(1, 9)]
        elif way == 2:
            spoilt[at:at] = spoilt[at : at + rng.randint(1, 40)]
        else:
            spoilt[at:at] = rng.randbytes(rng.randint(1, 9))
        if not spoilt:
            spoilt = bytearray(b"\0")
    return Malformed("spoilt", port, bytes(spoilt))


def _random(rng: Random) -> Malformed:
    return Malformed("random bytes", rng.choice(("thrift", "http")), rng.randbytes(rng.randint(1, 5000)))


def _exchanged(rng: Random) -> Malformed:
    """What belongs to the other port, or to none."""
    if rng.random() < 0.5:
        return Malformed("HTTP on the Thrift port", "thrift", post("/predict", b'{"doc":"a"}'))
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200)
    name, data = rng.choice(
        [
            ("Thrift", frame(message("predict", "a", None))),
            ("TLS", tls),
            ("PROXY", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        ]
    )
    return Malformed(f"{name} on the HTTP port", "http", data)


# -------------------------------------------------------------------------------------------------------------- Thrift


def _claims(rng: Random) -> Malformed:
    """Sizes that nothing has."""
    size = rng.choice((HUGE, -1, -(2**31), 1 << 24, 1 << 30))
    head = struct.pack(">II", 0x80010001, 7) + b"predict" + struct.pack(">i", 1)
    container = struct.pack(">II", 0x80010001, 13) + b"predict_batch" + struct.pack(">i", 1)
    bodies = [
        frame(head + struct.pack(">bhi", 11, 1, size) + b"hello"),
        head + struct.pack(">bhi", 11, 1, size) + b"hello",
        frame(container + struct.pack(">bhbi", 15, 1, 11, size) + b"hello"),
        struct.pack(">i", size) + head + b"\0",
        struct.pack(">i", HUGE) + rng.randbytes(64),
    ]
    return Malformed("claims of size", "thrift", rng.choice(bodies))


def _nonsense_call(rng: Random) -> Malformed:
    """Whole messages whose content is wrong."""
    protocol = rng.choice((None, TCompactProtocol, TJSONProtocol))
    how: Any = {} if protocol is None else {"protocol": protocol}
    calls = [
        message("predict", None, None, **how),
        message("predict", "a", RequestOptions(model="x" * rng.randint(1, 300)), **how),
        message("predict", "a", RequestOptions(timeout_ms=rng.choice((0, -5, HUGE))), **how),
        message("embed", "a", RequestOptions(lane=7), EmbedOptions(dimensions=rng.choice((0, -1, HUGE))), **how),
        message("generate", "a", GenerationOptions(max_tokens=-1, temperature=float("nan")), None, **how),
        message("generate", "a", GenerationOptions(json_schema='{"$ref": "#"}', max_tokens=2), None, **how),
        message("generate", "a", GenerationOptions(regex="(" * 200, max_tokens=2), None, **how),
        message("generate_next", "no-such-stream", 10, **how),
        message("generate_cancel", "", **how),
        message("chat", [], None, None, None, **how),
        message("embed_ids", [[HUGE, -1]], None, None, **how),
        message("detokenize", [[HUGE]], None, **how),
        message("get_batch", "none", **how),
        message("list_batches", -1, **how),
        message("load_model", "../x", "/etc/passwd", **how),
        message("load_model", "x", "no/such/folder", **how),
        message("unload_model", "nobody", **how),
        message("rerank", "a", [""] * 2000, None, None, **how),
    ]
    return Malformed("nonsense calls", "thrift", frame(rng.choice(calls)))


def _unknown_method(rng: Random) -> Malformed:
    name = rng.randbytes(rng.randint(1, 250)).hex()[:250].encode()
    data = struct.pack(">II", 0x80010001, len(name)) + name + struct.pack(">i", 1) + b"\0"
    return Malformed("unknown method", "thrift", frame(data) if rng.random() < 0.5 else data)


def _nested(rng: Random) -> Malformed:
    """Structs in structs, and unknown fields by the thousand."""
    head = struct.pack(">II", 0x80010001, 7) + b"predict" + struct.pack(">i", 1)
    depth = rng.choice((40, 2000, 100_000))
    bodies = [b"\x0c\x00\x09" * depth, b"\x0f\x00\x09" + b"\x0f\x00\x00\x00\x01" * depth, b"\x02\x00\x09\x01" * depth]
    return Malformed("nesting", "thrift", frame(head + rng.choice(bodies) + b"\0"))


def _header(rng: Random) -> Malformed:
    """THeader frames: wrong lengths, unknown transforms, and zlib that grows."""
    bomb = zlib.compress(bytes(rng.choice((1 << 16, 1 << 25))))
    words = rng.choice((b"\0\1\1\0", b"\0\2\1\1", b"\0\1\x05\0", rng.randbytes(4 * rng.randint(0, 8))))
    size = rng.choice((len(words) // 4, 0, 0xFFFF))
    inner = b"\x0f\xff\0\0" + struct.pack(">iH", 1, size) + words + rng.choice((bomb, b"", rng.randbytes(30)))
    return Malformed("headers", "thrift", frame(inner))


def _json_call(rng: Random) -> Malformed:
    bodies = [
        b'[1,"predict",1,1,' + b'{"1":' * rng.choice((3, 5000)),
        b'[1,"predict",1,1,{"1":{"i32":7}}]',
        b'[1,"predict",1,1,{"1":{"str":"\\ud800"}}]',
        b'[1,"predict",1,1,{"x":{"str":"a"}}]',
        b'[1,"predict_batch",1,1,{"1":{"lst":["str",9000000000,"a"]}}]',
        b'[1,"' + b"a" * 400,
    ]
    data = rng.choice(bodies)
    return Malformed("JSON calls", "thrift", frame(data) if rng.random() < 0.5 else data)


def _token_line(rng: Random) -> Malformed:
    line = b"Bearer " + rng.randbytes(rng.choice((3, 100, 5000)))
    return Malformed(
        "token lines", "thrift", line + rng.choice((b"\n", b"")) + frame(message("predict", "a", None))[:20]
    )


# ---------------------------------------------------------------------------------------------------------------- HTTP

_PATHS = ("/predict", "/embed", "/rerank", "/generate", "/v1/chat/completions", "/v1/embeddings", "/reply", "/batches")


def _bad_head(rng: Random) -> Malformed:
    heads = [
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET /" + b"a" * rng.choice((9000, 70_000)) + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * rng.choice((200, 20_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b";" * 60_000 + b"\r\n\r\n",
        b"GET /\x00\xff HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: localhost\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-77\r\n"
        b"Content-Encoding: " + rng.choice((b"gzip", b"br", b"deflate")) + b"\r\nContent-Length: 5\r\n\r\nabcde",
    ]
    return Malformed("HTTP heads", "http", rng.choice(heads))


def _bad_body(rng: Random) -> Malformed:
    bodies = [
        b"{",
        b"null",
        b'{"doc": 1}',
        b'{"doc": "\xff"}',
        b'{"doc": "\\ud800"}',
        b'{"docs": [' + b"1," * rng.choice((10, 50_000)) + b"1]}",
        b'{"texts": ' + b"[" * rng.choice((50, 100_000)),
        b'{"model": "none", "input": "a"}',
        b'{"model": "chat", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
        b'{"model": "generator", "prompt": "a", "max_tokens": 1e400}',
        b'{"model": "generator", "prompt": "a", "max_tokens": -1, "temperature": -3}',
        b'{"method": "predict", "input": "/etc/passwd", "output": "/etc"}',
        b'{"query": "a", "texts": ' + json.dumps(["b"] * 3000).encode() + b"}",
        json.dumps({"doc": "a", "x" * 5000: 1}).encode(),
        rng.randbytes(rng.randint(1, 2000)),
    ]
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain")
    data = post(rng.choice(_PATHS), rng.choice(bodies), rng.choice((kinds[0], *kinds)))
    return Malformed("HTTP bodies", "http", data)


def _bad_path(rng: Random) -> Malformed:
    path = rng.choice(
        ("/nowhere", "/v1/models/%2e%2e%2f", "/v2/models/x/versions/y/infer", "/predict?doc=%ff", "/batches/%00", "//")
    )
    method = rng.choice(("GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD", "BREW"))
    return Malformed("HTTP paths", "http", f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


_KINDS: tuple[Callable[[Random], Malformed], ...] = (
    _spoilt,
    _spoilt,
    _random,
    _exchanged,
    _claims,
    _nonsense_call,
    _unknown_method,
    _nested,
    _header,
    _json_call,
    _token_line,
    _bad_head,
    _bad_body,
    _bad_body,
    _bad_path,
)
