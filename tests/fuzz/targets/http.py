"""The HTTP port: the short way and aiohttp's, bodies of every type, request models, and the handlers behind them.

The first byte says in pieces of which size the bytes behind it come.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import structlog
from predictor import Predictor

from rest_proxy.application import Application
from rest_proxy.config import parse_address
from rest_proxy.http.server.listener import HttpServer
from server.proxy.handlers import HandlerPool
from server.transport.endpoint import Endpoint
from server.transport.limits import limits_of
from server.transport.methods import method_table
from server.transport.one_message import OneMessage
from tests.fuzz.fake_transport import FakeTransport, pieces
from tests.fuzz.handlers import SETTINGS, handler, status
from tests.server.transport.service import message
from tests.support.http_examples import example_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from process.security.access import Visit
    from tests.support.shared import SharedFiles

SIZES = (0, 1, 7, 100)

_PASSES = 60  # of the event loop, after which a request is given up that waits for its rest
_QUIET_PASSES = 4
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_FAULTS = (b"500", b"502")
_UNREADABLE = (b"400", b"403", b"405", b"408", b"411", b"413", b"414", b"415", b"431")
_MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="doc"\r\n\r\nabc\r\n'
    b'--x\r\nContent-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nletters\r\n'
    b"--x--\r\n"
)


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 96 << 20

    def __init__(self, files: SharedFiles) -> None:
        del files
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._start())

    async def _start(self) -> None:
        address = parse_address("127.0.0.1:9090")
        settings = SETTINGS.of_proxy(address)
        own, log = handler(), structlog.get_logger()
        limits = limits_of(SETTINGS)
        endpoint = Endpoint(method_table(Predictor, own, limits), limits, log)

        async def answer(data: bytes, visit: Visit) -> bytes:
            return await OneMessage(endpoint, visit).answer(data)

        self._application = Application(settings, HandlerPool(own, status, settings, address, log, answer))
        self._server = HttpServer(self._application, settings)

    def one(self, data: bytes) -> bool:
        """Whether each request can be read, and there is one: what it asks for need not be there."""
        if not data:
            return False
        statuses = self._loop.run_until_complete(self._one(data[0], data[1:]))
        assert not any(status in _FAULTS for status in statuses), statuses
        return bool(statuses) and not any(status in _UNREADABLE for status in statuses)

    async def _one(self, how: int, data: bytes) -> list[bytes]:
        connection: Any = self._server()
        transport = FakeTransport(connection)
        connection.connection_made(transport)
        await asyncio.sleep(0)
        for piece in pieces(data, SIZES[how & 3]):
            if transport.is_closing():
                break
            connection.data_received(piece)
            await self._quiet(connection)
        await self._quiet(connection)
        transport.lose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return _STATUS.findall(transport.written)

    async def _quiet(self, connection: Any) -> None:
        """Wait until nothing is in progress, or something that waits for more."""
        quiet = 0
        for _ in range(_PASSES):
            await asyncio.sleep(0)
            quiet = 0 if connection._request_in_progress or self._application.in_progress else quiet + 1
            if quiet >= _QUIET_PASSES:
                return

    def seeds(self) -> Iterator[bytes]:
        """Every route's example as the document has it, and other forms of bodies."""
        examples = example_requests(self._application.routes, {"id": "id", "version": "1", "name": "letters"})
        for number, (_, method, path, fields) in enumerate(examples):
            if path == "/openapi.json":  # it is made beside the event loop
                continue
            body = b"" if fields is None else json.dumps(fields).encode()
            yield bytes([number % 4]) + _request(method, path, body, "application/json" if body else None)
        form = urlencode({"doc": "abc"}).encode()
        yield b"\0" + _request("POST", "/predict", form, "application/x-www-form-urlencoded")
        yield b"\0" + _request("POST", "/predict", _MULTIPART, "multipart/form-data; boundary=x")
        yield b"\0" + _request("POST", "/predict", gzip.compress(b'{"doc":"a"}'), "application/json", "gzip")
        yield b"\0" + _request("POST", "/predict", b'{"doc":"a"}', "application/json; charset=utf-8")
        chunked = b"Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        yield b"\1POST /predict HTTP/1.1\r\n" + chunked + b'b\r\n{"doc":"a"}\r\n0\r\n\r\n'
        yield b"\2" + _request("OPTIONS", "/predict", b"", None)
        yield b"\0" + _request("GET", "/?doc=abc", b"", None) * 3
        yield b"\0" + _request("GET", "/predict?doc=a%20b", b"", None)
        yield b"\0" + _request("POST", "/thrift", message("predict", "abc", None), "application/x-thrift")
        for path, fields in _OF_LETTERS:
            yield b"\0" + _request("POST", path, json.dumps(fields).encode(), "application/json")

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._loop.close()


_OF_LETTERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/predict", {"docs": ["abc", "b"], "candidate_labels": ["ab", "cd"], "top_k": 1, "multi_label": True}),
    ("/embed", {"texts": ["abc"], "dimensions": 4, "encoding": "int8", "prompt_name": "query", "truncate": True}),
    ("/rerank", {"query": "ab", "texts": ["abc", "d"], "top_n": 1, "raw_scores": True}),
    ("/v1/embeddings", {"model": "letters", "input": ["abc"], "encoding_format": "base64", "dimensions": 4}),
    ("/v1/embeddings", {"model": "letters", "input": [[1, 2], [3]]}),
    ("/reply", {"messages": ["a", "b"], "max_replies": 2, "threshold": 0.5}),
)


def _request(method: str, path: str, body: bytes, content_type: str | None, encoding: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: */*"]
    if content_type is not None:
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    if encoding is not None:
        lines.append(f"Content-Encoding: {encoding}")
    return "\r\n".join([*lines, "", ""]).encode() + body
