"""Requests over HTTP that are made to cost more than they should: each kind, at every route that reads such a body.

The bounds are those of processor time and of memory that a server may take for one of them, whatever it says.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import time
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.server.transport.thrift_clients import HOST
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

MOST_CPU_S = 0.4  # on a machine at rest none takes 0.2, most a tenth of this
LEFT_BYTES = 16 << 20  # by the kinds before, when it is given back
MOST_BYTES = (50 << 20) + LEFT_BYTES  # beside what it holds when nothing is asked; a body of 8 MB is there five times
BODY = 8_380_000  # bytes, just below max_body_bytes
FIELDS = (
    "doc",
    "docs",
    "text",
    "texts",
    "input",
    "inputs",
    "messages",
    "prompt",
    "query",
    "instances",
    "ids",
    "options",
)
PATHS = ("/predict", "/v1/chat/completions")
"""Routes to which every kind is sent. The others, which read bodies by the same functions, get ..."""
EVERYWHERE = ("lists of numbers", "as many fields as may be", "many fields of a form", "a part with many headers")
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
TICK = os.sysconf("SC_CLK_TCK")
UNTRACED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""What is measured is the server's time, not that of counting its lines."""


class Body(NamedTuple):
    """What follows a request's first line, but for the type of its content where the kind has its own."""

    content: Callable[[], bytes]
    headers: tuple[str, ...] = ()
    chunked: bool = False


def in_every_field(value: bytes) -> bytes:
    """A JSON object that has the value wherever a route may look for one."""
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name in FIELDS) + b"}"


def lists_of(item: bytes) -> bytes:
    """In every field, as long as a body may be."""
    count = (BODY // len(FIELDS) - 40) // (len(item) + 1)
    return in_every_field(b"[" + b",".join([item] * count) + b"]")


def texts_of(character: bytes) -> bytes:
    """In every field."""
    return in_every_field(b'"%s"' % (character * ((BODY // len(FIELDS) - 40) // len(character))))


def one_text_of(character: bytes, first: bytes = b"") -> bytes:
    """In the fields that most routes ask for first."""
    text = first + character * ((BODY // 3 - 40) // len(character))
    return b'{"doc":"%s","text":"%s","texts":["%s"]}' % (text, text, text)


@cache
def bomb() -> bytes:
    """A hundred megabytes of spaces."""
    return gzip.compress(b" " * 100_000_000, 1)


@cache
def members() -> bytes:
    """Of gzip, each of nothing."""
    return gzip.compress(b"") * (BODY // 20)


@cache
def without_end() -> bytes:
    """A hundred megabytes in chunks."""
    return b"10000\r\n%b\r\n" % (b"a" * (1 << 16)) * 1600 + b"0\r\n\r\n"


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def in_chunks() -> bytes:
    """Of a byte each."""
    return b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"doc":"' + b"a" * 250_000 + b'"}') + b"0\r\n\r\n"


def part(headers: bytes = b"", name: bytes = b"doc", value: bytes = b"a") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n%s\r\n%s\r\n' % (name, headers, value)


LARGE: dict[str, dict[str, Body]] = {
    JSON: {
        "lists of numbers": Body(lambda: lists_of(b"1")),
        "lists of lists": Body(lambda: lists_of(b"[]")),
        "lists of objects": Body(lambda: lists_of(b'{"a":1}')),
        "lists of texts": Body(lambda: lists_of(b'"a"')),
        "as many numbers as may be": Body(lambda: in_every_field(b"[" + b",".join([b"1"] * 8000) + b"]")),
        "as many texts as may be": Body(
            lambda: in_every_field(b"[" + b",".join([b'"%s"' % (b"a" * 160)] * 8000) + b"]")
        ),
        "as many lists as may be": Body(lambda: in_every_field(b"[" + b",".join([b"[[]]"] * 4000) + b"]")),
        "as many fields as may be": Body(
            lambda: b"{" + b",".join(b'"%0100d":1' % number for number in range(9900)) + b"}"
        ),
        "nested lists": Body(lambda: b"[" * BODY),
        "nested lists in a field": Body(lambda: b'{"doc":' + b"[" * 99_000),
        "nested objects": Body(lambda: b'{"doc":' * (BODY // 7)),
        "many fields": Body(lambda: b"{" + b",".join(b'"%d":1' % number for number in range(BODY // 11)) + b"}"),
        "an endless number": Body(lambda: b'{"doc":"a","timeout_ms":' + b"9" * (BODY - 100) + b"}"),
        "long numbers": Body(lambda: lists_of(b"9" * 4000)),
        "escapes": Body(lambda: texts_of(rb"\u0041")),
        "escaped pairs": Body(lambda: one_text_of(rb"\ud83d\ude00")),
        "quotes": Body(lambda: texts_of(rb"\"")),
        "four bytes a character": Body(lambda: one_text_of(b"a", "😀".encode())),
        "no UTF-8": Body(lambda: b'{"doc":"' + b"\xff" * (BODY - 100) + b'"}'),
        "spaces": Body(lambda: b" " * BODY),
        "a name without an end": Body(lambda: b'{"' + b"a" * (BODY - 100) + b'":1}'),
        "a bomb": Body(lambda: bomb(), ("Content-Encoding: gzip",)),
        "a bomb of another name": Body(lambda: bomb(), ("Content-Encoding: x-gzip",)),
        "a bomb of members": Body(members, ("Content-Encoding: gzip",)),
        "a body without an end": Body(without_end, chunked=True),
        "a bomb of lists": Body(lambda: deflated(lists_of(b"1")), ("Content-Encoding: deflate",)),
        "chunks of a byte": Body(in_chunks, chunked=True),
    },
    FORM: {
        "many fields of a form": Body(lambda: b"&".join([b"doc=a"] * (BODY // 6))),
        "a form of separators": Body(lambda: b"&" * BODY),
        "a form of escapes": Body(lambda: b"doc=" + b"%41" * (BODY // 3 - 10)),
        "a form of pluses": Body(lambda: b"doc=" + b"+" * (BODY - 10)),
        "a form without UTF-8": Body(lambda: b"doc=" + b"%ff" * (BODY // 3 - 10)),
    },
    MULTIPART: {
        "many parts": Body(lambda: part() * (BODY // 60) + b"--x--\r\n"),
        "many names of parts": Body(
            lambda: b"".join(part(name=b"%d" % number) for number in range(BODY // 70)) + b"--x--\r\n"
        ),
        "a part with many headers": Body(lambda: part(b"A: b\r\n" * (BODY // 6 - 100)) + b"--x--\r\n"),
        "a part with many parameters": Body(lambda: part(b"A: b" + b";" * 60_000 + b"\r\n") + b"--x--\r\n"),
        "a part without an end": Body(lambda: part()[:-7] + b"\r\n--" * (BODY // 4 - 100)),
        "a part of line ends": Body(lambda: part(value=b"\r\n" * (BODY // 2 - 100)) + b"--x--\r\n"),
    },
}

SMALL: dict[str, tuple[str, tuple[str, ...]]] = {
    "a content type with many parameters": ("", (f"Content-Type: {JSON}{';' * 60_000}",)),
    "a type of parts with many parameters": ("", (f"Content-Type: {MULTIPART}; boundary=x{'; a=b' * 12_000}",)),
    "a header of many commas": ("", (f"Accept: {'a/b,' * 15_000}", f"Accept-Encoding: {'x,' * 30_000}")),
    "many headers": ("", tuple(f"X-{number}: a" for number in range(10_000))),
    "many cookies": ("", (f"Cookie: {'a=b; ' * 12_000}",)),
    "a token without an end": ("", (f"Authorization: Bearer {'a' * 60_000}", f"X-Api-Key: {'b' * 60_000}")),
    "a query of many fields": ("&".join(["doc=a"] * 10_000), ()),
    "a query of separators": ("&" * 60_000, ()),
    "a query of escapes": ("doc=" + "%C3%A4" * 10_000, ()),
    "a query of brackets": ("doc=" + "[" * 60_000, ()),
}
"""The query and the headers of a request with a small body in JSON."""


class Cost(NamedTuple):
    """Of a request."""

    cpu_s: float
    size: int


class Costly:
    """A server, and what it spends."""

    def __init__(self, service: Service) -> None:
        self.service = service
        document = service.http("/openapi.json").json()
        self.routes: list[tuple[str, str, set[str]]] = [("POST", "/thrift", set()), ("POST", "/nowhere", {JSON, FORM})]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if method in ("get", "post", "put", "delete"):
                    types = set(operation.get("requestBody", {}).get("content", {}))
                    self.routes.append((method.upper(), path.replace("{", "").replace("}", ""), types))
        assert service.http("/predict?doc=a").status == 200
        self._held = self._memory("VmRSS")

    def of(self, method: str, path: str, head: tuple[str, ...], body: bytes) -> Cost:
        """What a request costs, and its answer is one."""
        lines = "".join(
            f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *head)
        )
        Path(f"/proc/{self.service.pid}/clear_refs").write_text("5")  # the peak is now
        before = self._cpu_s()
        said = self._exchange(lines.encode("latin-1") + b"\r\n", body)
        assert said[:9] in (b"HTTP/1.1 ", b"HTTP/1.0 ", b""), said[:100]
        assert not said[9:].startswith(b"5"), said[:500]
        return Cost(self._cpu_s() - before, self._memory("VmHWM") - self._held)

    def settle(self) -> None:
        """Wait until what the last kind took is given back, but for what Python keeps for small objects."""
        for _ in range(20):
            if self._memory("VmRSS") - self._held < LEFT_BYTES:
                return
            time.sleep(0.1)

    def _exchange(self, head: bytes, body: bytes) -> bytes:
        """What the server says, be it before the request is read to its end."""
        said = b""
        with socket.create_connection((HOST, self.service.rest_port), 60) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(head)
                client.sendall(body)
            with contextlib.suppress(ConnectionError):
                while data := client.recv(1 << 16):
                    said += data
        return said

    def _cpu_s(self) -> float:
        """Of the process, and of its children."""
        spent = 0
        for pid in (self.service.pid, *self.service.children()):
            spent += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return spent / TICK

    def _memory(self, name: str) -> int:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self.service.pid}/status").read_text().splitlines())
        return int(lines[name].split()[0]) << 10


@pytest.fixture(scope="module")
def costly(zoo: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Costly]:
    folder = tmp_path_factory.mktemp("jobs")
    flags = (f"--jobs-db={folder / 'jobs'}", f"--batch-roots={folder}")
    with Service(zoo("docnn_mask"), *flags, env=UNTRACED) as running:
        yield Costly(running)


@cache
def content(content_type: str, kind: str) -> bytes:
    return LARGE[content_type][kind].content()


def within_bounds(costs: dict[str, Cost]) -> None:
    assert costs
    over = {name: cost for name, cost in costs.items() if cost.cpu_s > MOST_CPU_S or cost.size > MOST_BYTES}
    assert not over, over


@pytest.mark.parametrize(("content_type", "kind"), [(one, kind) for one, kinds in LARGE.items() for kind in kinds])
def test_no_body_costs_much(costly: Costly, content_type: str, kind: str) -> None:
    costly.settle()
    body, data = LARGE[content_type][kind], content(content_type, kind)
    size = "Transfer-Encoding: chunked" if body.chunked else f"Content-Length: {len(data)}"
    boundary = "; boundary=x" if content_type == MULTIPART else ""
    head = (f"Content-Type: {content_type}{boundary}", size, *body.headers)
    within_bounds(
        {
            f"{method} {path}": costly.of(method, path, head, data)
            for method, path, types in costly.routes
            if content_type in types and (path in PATHS or kind in EVERYWHERE)
        }
    )


@pytest.mark.parametrize("kind", SMALL)
def test_no_head_costs_much(costly: Costly, kind: str) -> None:
    query, headers = SMALL[kind]
    if not any(header.startswith("Content-Type") for header in headers):
        headers = (f"Content-Type: {JSON}", *headers)
    head = (*headers, "Content-Length: 11")
    within_bounds(
        {
            f"{method} {path}": costly.of(method, f"{path}?{query}", head, b'{"doc":"a"}')
            for method, path, _ in costly.routes
        }
    )


def test_it_serves_on(costly: Costly) -> None:
    assert costly.service.http("/predict?doc=a").status == 200
