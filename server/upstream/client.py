"""Calls of a server that speaks OpenAI's API over HTTP/1.1, none of whose answers is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from process.version import VERSION
from server.upstream.errors import (
    AnswerError,
    BusyError,
    DeniedError,
    RefusedError,
    UnavailableError,
    UpstreamError,
    milliseconds,
    shown,
)
from server.upstream.events import EventReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from server.upstream.location import Address

_CONNECT_S = 5.0
_IDLE_S = 4.0  # llama.cpp closes a connection after 5 s
_READ_BYTES = 1 << 16
_ERROR_BYTES = 1 << 16  # of an error's body
_END_S = 0.1  # for the end of a stream whose last event has come: then its connection is used again
_DONE = b"[DONE]"

# None of them is the request's fault, and none has done anything: a gateway's, and a server's that is loading.
_PASSING = (408, 425, 502, 503, 504)
_OURS = (401, 403, 407)


class Client:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, address: Address, *, connections: int, max_bytes: int, key: str | None = None) -> None:
        """At most so many connections, and bytes of an answer (message_bytes). `key` goes into the header alone."""
        self.address = address
        self._key = key
        self._max_bytes = max_bytes
        headers = {"Accept-Encoding": "identity", "User-Agent": f"predictor-service/{VERSION}"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        tls = ssl.create_default_context() if address.url.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_IDLE_S, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )

    async def close(self) -> None:
        """Ends the calls that wait, too."""
        await self._session.close()

    async def get(self, path: str) -> Any:
        """The JSON of an answer. Raises UpstreamError."""
        async with self._answer("GET", path, None) as response:
            return self._json(await self._body(response, self._max_bytes))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The same, to a question in JSON."""
        async with self._answer("POST", path, body) as response:
            return self._json(await self._body(response, self._max_bytes))

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Any]:
        """The JSON of each event until [DONE], or until the answer's end. Raises UpstreamError.

        Who leaves it early is to close it (contextlib.aclosing): that ends the server's work.
        """
        async with self._answer("POST", path, body) as response:
            if response.content_type != "text/event-stream":
                self._json(await self._body(response, self._max_bytes))  # an error says more
                raise AnswerError(f"{shown(response.content_type)} came instead of text/event-stream")
            reader = EventReader()
            while part := await response.content.readany():
                for data in reader.feed(part):
                    if data == _DONE:
                        await _read_to_end(response)
                        return
                    yield self._json(data)
            for data in reader.end():
                if data != _DONE:
                    yield self._json(data)

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self.address.url + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise await self._failure(response, path)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise AnswerError("a compressed answer came, though none was asked for")
                yield response
        except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch) as error:
            raise AnswerError(f"no connection by TLS: {shown(str(error))}") from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            raise AnswerError(f"its answer is no HTTP: {shown(str(error))}") from None
        except (aiohttp.ClientError, OSError) as error:  # OSError: TimeoutError among them
            raise UnavailableError(shown(str(error)) or type(error).__name__) from None

    async def _body(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        parts, size = [], 0
        while part := await response.content.readany():
            size += len(part)
            if size > most:
                raise AnswerError(f"an answer of more than {most} bytes came (setting message_bytes)")
            parts.append(part)
        return b"".join(parts)

    def _json(self, data: bytes) -> Any:
        """The value. Raises UpstreamError for what is none, and for an error, which may come with any status."""
        try:
            value = orjson.loads(data)
        except ValueError as error:
            raise AnswerError(f"its answer is no JSON: {shown(str(error))}") from None
        if type(value) is dict and value.get("error") is not None:
            status = value["error"].get("code") if type(value["error"]) is dict else None
            raise self._error(status if type(status) is int else 500, self._said(data), None)
        return value

    async def _failure(self, response: aiohttp.ClientResponse, path: str) -> UpstreamError:
        status = response.status
        if 300 <= status < 400:
            return AnswerError(f"it redirects {path} elsewhere, which is not followed: name the right address")
        try:
            said = self._said(await self._body(response, _ERROR_BYTES))
        except AnswerError:
            said = ""
        return self._error(status, said, response.headers.get("Retry-After"))

    def _error(self, status: int, said: str, retry_after: str | None) -> UpstreamError:
        what = f"HTTP status {status}" + (f": {said}" if said else "")
        if status == 429:
            return BusyError(what, milliseconds(retry_after))
        if status in _PASSING:
            return UnavailableError(what, milliseconds(retry_after))
        if status in _OURS:
            return DeniedError(f"it does not accept our API key ({what}; setting upstream_keys)")
        if 400 <= status < 500:
            return RefusedError(said or what, status)
        return AnswerError(what)

    def _said(self, body: bytes) -> str:
        """The message of an error, in whatever form; never our key, which a server may repeat."""
        try:
            value = orjson.loads(body)
        except ValueError:
            value = body.decode(errors="replace")
        for name in ("error", "message", "detail"):
            if type(value) is dict and value.get(name):
                value = value[name]
        said = value if type(value) is str else orjson.dumps(value).decode()
        return shown(said if self._key is None else said.replace(self._key, "***"))


async def _read_to_end(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_S):
            while await response.content.readany():
                pass
