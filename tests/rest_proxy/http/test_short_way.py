"""Whole small requests go a short way. Whatever is sent, the answers are those of the usual way, byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog
from predictor.ttypes import ServerStatus

from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Address, Settings
from rest_proxy.http.fast.answer import AnswerWriter
from rest_proxy.http.fast.connection import FastConnection
from rest_proxy.http.fast.direct import DirectRequest
from rest_proxy.http.responses import Whole
from rest_proxy.lifecycle import listening
from server import config
from server.proxy.handlers import HandlerPool
from server.rpc.handler import Handler
from tests.support.http_examples import example_requests
from tests.support.letters import Letters, registry_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
TALKATIVE = ("batches", "embedded-tf")  # they change something, or wait for files
CHANGING = re.compile(
    rb"(?<=\r\nDate: )[^\r]+|(?<=X-Request-Id: )[0-9a-f]{8,}[-0-9a-f]*|(?<=request_id\":\")[0-9a-f-]+"
    rb"|(?<=\"created\":)\d+|(?:cmpl|classify|score|pool)-[0-9a-f-]+|(?<=\"uptime_s\":)[0-9.]+"
    rb"|(?<=Server-Timing: total;dur=)[0-9.]+"
    # what has a digit more in time
    rb"|(?<=Content-Length: )\d+(?=\r\n(?:[^\r\n]+\r\n)*\r\n[^\r\n]*\"(?:uptime_s|request_id|id)\":)"
)


def request(line: str, body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of a request of HTTP/1.1."""
    fields = {"Host": "x", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        fields.setdefault("Content-Type", "application/json")
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


GET = request("GET /?doc=abba")
JSON = b'{"doc": "abba", "top_k": 1}'
POST = request("POST /predict", JSON)

ODD = {
    "twice at once": GET + GET,
    "three at once": POST + GET + request("GET /predict?doc=c"),
    "a usual one behind a short one": GET + request("GET /models") + GET,
    "ids": request("GET /?doc=abba", X_Request_Id="mine") + request("GET /?doc=abba", X_Request_Id="not mine"),
    "JSON for plain text": request("GET /?doc=abba", Accept="application/json"),
    "browser": request("GET /", Accept="text/html"),
    "no document": request("GET /"),
    "another path": request("GET /anything/at/all?doc=abba"),
    "fields": request("GET /?x=1&doc=a&doc=b"),
    "an empty field": request("GET /?doc="),
    "a field without a value": request("GET /?doc"),
    "percents": request("GET /?doc=%61+%2B%62%ff%C3%A9"),
    "bad percents": request("GET /?doc=%zz%"),
    "strict percents": request("GET /predict?doc=%ff"),
    "a fragment": request("GET /?doc=a#b"),
    "a whole URL": request("GET http://x/?doc=abba"),
    "raw UTF-8": "GET /?doc=é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "bytes of no UTF-8": b"GET /?doc=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space": b"GET /?doc=a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD": request("HEAD /?doc=abba"),
    "OPTIONS": request("OPTIONS /predict"),
    "PUT with a body": request("PUT /?doc=abba", b"{}"),
    "DELETE": request("DELETE /predict"),
    "a method of its own": request("BREW /?doc=abba"),
    "HTTP/1.0": b"GET /?doc=abba HTTP/1.0\r\n\r\n",
    "HTTP/1.0 kept": b"GET /?doc=abba HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "closed": request("GET /?doc=abba", Connection="close"),
    "no host": b"GET /?doc=abba HTTP/1.1\r\n\r\n",
    "lines without returns": b"GET /?doc=abba HTTP/1.1\nHost: x\n\n",
    "folded": b"GET /?doc=abba HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a header without a name": b"GET /?doc=abba HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "a space before the colon": b"GET /?doc=abba HTTP/1.1\r\nHost : x\r\n\r\n",
    "upgrade": request("GET /?doc=abba", Connection="upgrade", Upgrade="websocket"),
    "a body of GET": request("GET /predict", JSON),
    "a body of GET for PyText": request("GET /?doc=abba", b"x"),
    "an empty body": request("POST /predict", b""),
    "no body": request("POST /predict?doc=abba"),
    "no JSON": request("POST /predict", b"{"),
    "a list": request("POST /predict", b"[]"),
    "a wrong field": request("POST /predict", b'{"dok": "a"}'),
    "a wrong type": request("POST /predict", b'{"doc": 1}'),
    "a text": request("POST /predict", b'{"doc":"abba"}'),
    "a text with spaces": request("POST /predict", b'{"doc":  "abba"  }\r\n'),
    "a text after a space": request("POST /predict", b'{ "doc": "abba"}'),
    "a text with escapes": request("POST /predict", b'{"doc": "a\\u0062\\n\\"b\\ud83d\\ude00"}'),
    "a text beyond ASCII": request("POST /predict", '{"doc": "abbé 😀"}'.encode()),
    "a text that is no UTF-8": request("POST /predict", b'{"doc": "ab\xff"}'),
    "a text with a control character": request("POST /predict", b'{"doc": "ab\x01"}'),
    "a text with a bad escape": request("POST /predict", b'{"doc": "ab\\x"}'),
    "a text twice": request("POST /predict", b'{"doc": "a", "doc": "b"}'),
    "a number and a text": request("POST /predict", b'{"doc": 1, "doc": "b"}'),
    "a text and a number": request("POST /predict", b'{"doc": "a", "doc": 1}'),
    "a text and more": request("POST /predict", b'{"doc": "abba", "timeout_ms": 0}'),
    "a text and nothing": request("POST /predict", b'{"doc": "abba", "model": null}'),
    "a text and garbage": request("POST /predict", b'{"doc": "abba"} x'),
    "a text and a comma": request("POST /predict", b'{"doc": "abba",}'),
    "nothing for a text": request("POST /predict", b'{"doc": null}'),
    "an empty text": request("POST /predict", b'{"doc": ""}'),
    "a text that is late": request("POST /predict", b'{"doc": "late"}'),
    "a text that is too long": request("POST /predict", b'{"doc": "%b", "truncate": false}' % (b"a" * 40)),
    "a failing model for JSON": request("POST /predict", b'{"doc": "nan"}'),
    "a text behind a query": request("POST /predict?", b'{"doc": "abba"}'),
    "a text as plain text": request("POST /predict", b'{"doc": "abba"}', Content_Type="text/plain"),
    "inputs in a text": request("POST /predict", b'{"doc": "\\"inputs\\""}'),
    "a text of PUT": request("PUT /predict", b'{"doc": "abba"}'),
    "percents in a label": request("POST /reply", b'{"message": "100%"}'),
    "a message that is no number": request("POST /reply", b'{"message": "nan"}'),
    "half a pair": request("POST /predict", b'{"doc": "\\ud800"}'),
    "several": request("POST /predict", b'{"docs": ["a", "b"]}'),
    "too many": request("POST /predict", json.dumps({"docs": ["a"] * 3000}).encode()),
    "both": request("POST /predict?x=1", JSON),
    "a form": request("POST /predict", b"doc=a+b", Content_Type="application/x-www-form-urlencoded"),
    "multipart": request("POST /predict", b"--b\r\n\r\n--b--\r\n", Content_Type="multipart/form-data; boundary=b"),
    "text": request("POST /predict", b"doc", Content_Type="text/plain"),
    "a charset": request("POST /predict", JSON, Content_Type="Application/JSON; charset=utf-8"),
    "no type": request("POST /predict", JSON, Content_Type=""),
    "expects": request("POST /predict", JSON, Expect="100-continue"),
    "chunked": request("POST /predict", Transfer_Encoding="chunked", Content_Type="application/json")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(JSON), JSON),
    "chunked and a length": request("POST /predict", JSON, Transfer_Encoding="chunked"),
    "compressed": request("POST /predict", JSON, Content_Encoding="gzip"),
    "unknown compression": request("POST /predict", JSON, Content_Encoding="br"),
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length that is none": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "a length below zero": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a long text": request("POST /predict", json.dumps({"doc": "ab " * 30_000}).encode()),
    "a long URL": request(f"GET /?doc={'a' * 70_000}"),
    "a long header": request("GET /?doc=abba", X_Long="a" * 70_000),
    "many headers": request("GET /?doc=abba", **{f"X_{number}": "1" for number in range(200)}),
    "replies": request("POST /reply", b'{"message": "abba"}'),
    "vectors": request("POST /embed", b'{"texts": ["a", "b"]}'),
    "bare vectors": request("POST /embed", b'{"texts": ["a", "b"]}', Accept="application/octet-stream"),
    "vectors in another form": request("POST /embed", b'{"inputs": ["a", "b"]}'),
    "a failing model": request("GET /?doc=nan"),
    "a model that is not there": request("POST /predict", b'{"doc": "a", "model": "b"}'),
    "nonsense": b"\x00\x01\x02\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\n\r\n",
}


@asynccontextmanager
async def letters(**own: Any) -> AsyncIterator[int]:
    """HTTP inside a server, whose models answer by letters, with these settings of HTTP."""
    settings = config.Settings()
    status = ServerStatus("1", 0.0, True, [], 0, [])
    handler = Handler(registry_of(settings, letters=Letters()), settings, lambda: status)
    http = Settings(port=0, **own)

    async def no_message(_message: bytes) -> bytes:
        raise AssertionError

    pool = HandlerPool(handler, lambda: status, http, Address("127.0.0.1", 9090), structlog.get_logger(), no_message)
    async with listening(http, pool) as port:
        yield port


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """One with default settings."""
    async with letters() as port:
        yield port


async def sent(port: int, *parts: bytes) -> bytes:
    """Everything that comes back; the parts are read by the server one by one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET /healthz"))
    await reader.readuntil(b"}\n")
    for _ in range(10):  # passes of the loop, after which the connection waits for requests
        await asyncio.sleep(0)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.001 if len(parts) > 1 else 0)
    writer.write(LAST)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


def comparable(answer: bytes) -> bytes:
    """Without what is never the same."""
    return CHANGING.sub(b"*", answer)


class Ways(NamedTuple):
    """The answers by the short way and by the usual one.

    `short` are the statuses of those that went the short way, `direct` how many of them went without a coroutine.
    """

    answers: bytes
    usual_answers: bytes
    short: list[int]
    direct: int


async def both_ways(port: int, monkeypatch: pytest.MonkeyPatch, *parts: bytes) -> Ways:
    """Send it twice."""
    statuses, begun = [], []
    bytes_of, direct_bytes, begin = AnswerWriter.bytes_of, AnswerWriter.direct_bytes, DirectRequest.begin

    def noted(self: AnswerWriter, response: Any) -> bytes:
        statuses.append(response.status)
        return bytes_of(self, response)

    def noted_directly(self: AnswerWriter, *answer: Any) -> bytes:
        statuses.append(200)
        return direct_bytes(self, *answer)

    def noted_begin(self: DirectRequest, *arguments: Any) -> None:
        begun.append(self)
        begin(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(AnswerWriter, "bytes_of", noted)
        patch.setattr(AnswerWriter, "direct_bytes", noted_directly)
        patch.setattr(DirectRequest, "begin", noted_begin)
        short = await sent(port, *parts)
    with monkeypatch.context() as patch:
        patch.setattr(FastConnection, "_is_free", lambda _self: False)
        usual = await sent(port, *parts)
    return Ways(comparable(short), comparable(usual), statuses, len(begun))


@pytest.mark.parametrize("name", ODD)
async def test_answers_are_the_same(name: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    short, usual, *_ = await both_ways(port, monkeypatch, ODD[name])
    assert short == usual
    assert short.startswith(b"HTTP/1.")


@pytest.mark.parametrize("payload", [POST, GET, POST + GET, ODD["a wrong type"]])
@pytest.mark.parametrize("size", [1, 7, 40])
async def test_answers_to_parts_are_the_same(
    payload: bytes, size: int, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    short, usual, *_ = await both_ways(port, monkeypatch, *parts)
    assert short == usual


@pytest.mark.parametrize(
    ("name", "statuses", "direct"),
    [
        ("twice at once", [200, 200], 2),
        ("three at once", [200, 200, 200], 1),
        ("a usual one behind a short one", [200], 1),
        ("a text", [200], 1),
        ("a text with escapes", [200], 1),
        ("a text that is late", [504], 1),
        ("a failing model for JSON", [500], 1),
        ("a text and more", [400], 0),
        ("a text that is no UTF-8", [400], 0),
        ("JSON for plain text", [200], 0),
        ("a wrong field", [400], 0),
        ("too many", [413], 0),
        ("bare vectors", [200], 0),
        ("replies", [200], 1),
        ("HEAD", [], 0),
        ("chunked", [], 0),
        ("expects", [], 0),
        ("HTTP/1.0", [], 0),
    ],
)
async def test_which_requests_go_the_short_way(
    name: str, statuses: list[int], direct: int, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = await both_ways(port, monkeypatch, ODD[name])
    assert (ways.short, ways.direct) == (statuses, direct)


@pytest.mark.parametrize(
    ("name", "origin", "short"),
    [
        ("a text", None, [200]),
        ("twice at once", None, [200, 200]),
        ("JSON for plain text", None, [200]),
        ("a wrong field", None, [400]),
        ("a text", "https://app.example", []),
        ("a text", "https://other.example", []),
    ],
)
async def test_origins_concern_only_requests_that_have_one(
    name: str, origin: str | None, short: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = ODD[name] if origin is None else ODD[name].replace(b"Host: x", f"Host: x\r\nOrigin: {origin}".encode())
    async with letters(cors_origins=("https://app.example",)) as port:
        ways = await both_ways(port, monkeypatch, payload)
    assert ways.answers == ways.usual_answers
    assert ways.short == short
    assert re.search(rb"Vary: (Accept, )?Origin\r\n", ways.answers)


@pytest.mark.parametrize("name", ["a text", "twice at once", "replies", "a wrong field", "a failing model", "HEAD"])
async def test_either_way_says_how_long_it_took(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with letters(server_timing=True) as port:
        ways = await both_ways(port, monkeypatch, ODD[name])
    assert ways.answers == ways.usual_answers
    answers = ways.answers.count(b"HTTP/1.1 ")
    assert answers >= 2
    assert ways.answers.count(b"\r\nServer-Timing: total;dur=*\r\n") == answers


@pytest.mark.parametrize("accepted", ["gzip", "br", "identity"])
@pytest.mark.parametrize("message", ["b" * 600, "late " * 100])
async def test_large_answers_are_compressed_either_way(
    accepted: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = request("POST /reply", json.dumps({"message": message}).encode(), Accept_Encoding=accepted)
    async with letters(compress_bytes=256) as port:
        ways = await both_ways(port, monkeypatch, payload)
    assert ways.answers == ways.usual_answers
    assert (ways.short, ways.direct) == ([200], 1)
    assert (b"Content-Encoding: gzip" in ways.answers) == (accepted == "gzip")


async def test_both_ways_log_and_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with letters(access_log=True) as port:
        payload = ODD["ids"] + ODD["a text that is late"] + request("GET /metrics")
        with structlog.testing.capture_logs() as logged:
            ways = await both_ways(port, monkeypatch, payload)
    lines = [entry for entry in logged if entry.get("path") in ("/", "/predict")]
    told = [{name: entry[name] for name in ("path", "method", "status", "client")} for entry in lines]
    assert told[:3] == told[3:]
    assert [entry["status"] for entry in told[:3]] == [200, 200, 504]
    assert [entry["request_id"] for entry in lines[:2]] == ["mine", lines[1]["request_id"]]
    for count, answers in ((1, ways.answers), (2, ways.usual_answers)):
        assert f'predictor_rest_requests_total{{route="/",status="200"}} {2 * count}.0'.encode() in answers
        assert f'predictor_rest_requests_total{{route="/predict",status="504"}} {count}.0'.encode() in answers
        assert b"predictor_rest_requests_in_progress 0.0" in answers


async def test_every_example_is_answered_the_same(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    routes = [route for route in Application(settings, ThriftPool(settings)).routes if route.tag not in TALKATIVE]
    small = set()
    for route, method, path, fields in example_requests(routes, {"version": "0"}):
        body = None if fields is None else json.dumps(fields).encode()
        short, usual, shortened, _ = await both_ways(port, monkeypatch, request(f"{method} {path}", body))
        assert path == "/metrics" or short == usual, (method, path)
        assert bool(shortened) == route.small, (method, path)
        small |= {route.path} if route.small else set()
    assert small >= {"/", "/predict", "/reply", "/embed"}


async def test_what_is_no_request_behind_one_loses_no_answer(port: int) -> None:
    answers = await sent(port, GET + b"nonsense\r\n\r\n")
    assert re.findall(rb"HTTP/1\.[01] (\d+)", answers) == [b"200", b"400"]


async def test_connections_learn_nothing_wrong_from_each_other(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a connection ends no other: its headers are known, and the next ones are read as if it had not been."""
    for payload in (ODD["closed"], ODD["two lengths"], request("GET /?doc=b", X_New="1")):
        short, usual, shortened, _ = await both_ways(port, monkeypatch, payload)
        assert short == usual
    assert shortened == [200]


async def test_a_request_is_answered_before_the_server_ends(server: ThriftServer) -> None:
    server.answer = server.hold
    async with listening(Settings(thrift=(server.address,), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("GET /healthz"))
        await reader.readuntil(b"}\n")
        writer.write(GET)
        await asyncio.to_thread(server.held.acquire)
        asyncio.get_running_loop().call_later(0.05, server.release.set)
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_over_thrift_too(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("three at once", "a wrong field", "replies"):
        short, usual, shortened, _ = await both_ways(proxy.port, monkeypatch, ODD[name])
        assert short == usual
        assert shortened


async def test_who_goes_away_cancels(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    """And is counted as such."""
    proxy = await new_proxy(server)
    server.answer = server.hold
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request("GET /healthz"))
    await reader.readuntil(b"}\n")
    writer.write(GET)
    await asyncio.to_thread(server.held.acquire)
    writer.close()
    gone = 'predictor_rest_requests_total{route="/",status="499"} 1.0'
    async with asyncio.timeout(60):
        while gone not in (await proxy.ask("GET", "/metrics")).body.decode():
            pass


def test_an_answer_becomes_one_of_aiohttps_when_looked_at() -> None:
    answer = Whole(b"a", {"X-A": "b"}, 201)
    assert answer.status == 201
    assert answer.headers == {"X-A": "b"}
    assert (answer.body, answer.status, answer.reason) == (b"a", 201, "Created")
    with pytest.raises(AttributeError, match="nothing"):
        answer.nothing  # noqa: B018


async def test_a_header_has_one_line() -> None:
    with pytest.raises(ValueError, match="more than a line"):
        AnswerWriter(asyncio.get_running_loop()).bytes_of(Whole(b"", {"X-A": "b\r\nX-B: c"}))


async def test_too_many_requests_are_refused_directly_too(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_requests=1)
    server.answer = server.hold
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request("GET /healthz"))
    await reader.readuntil(b"}\n")
    writer.write(GET)
    await asyncio.to_thread(server.held.acquire)
    refused = await sent(proxy.port, GET)
    server.release.set()
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"over 1 requests are in progress (setting max_requests)" in refused
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_who_sends_much_at_once_lets_others_have_their_turns(port: int) -> None:
    """What is answered at once would otherwise be answered to its end first."""
    many = 2000
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    other_reader, other = await asyncio.open_connection("127.0.0.1", port)
    for each, its_reader in ((writer, reader), (other, other_reader)):
        each.write(request("GET /healthz"))
        await its_reader.readuntil(b"}\n")
    writer.write(request("GET /reply") * many)
    await asyncio.sleep(0)
    other.write(ODD["a text"])
    answers = b""
    answered = asyncio.ensure_future(other_reader.readuntil(b"}}\n"))
    while not answered.done():
        answers += await reader.read(1 << 20)
    before = answers.count(b"HTTP/1.1 400 ")
    assert 0 < before < many
    while answers.count(b"HTTP/1.1 400 ") < many:
        answers += await reader.read(1 << 20)
    writer.close()
    other.close()
