"""Calls of servers that answer in every wrong way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from server.upstream.client import Client
from server.upstream.errors import AnswerError, BusyError, DeniedError, RefusedError, UnavailableError, UpstreamError
from server.upstream.events import MAX_EVENT_BYTES
from server.upstream.location import Address
from tests.support.service import free_port
from tests.support.upstream_server import (
    KEY,
    MODEL,
    UpstreamServer,
    completion,
    giving,
    saying,
    sending,
    streaming,
    upstream_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MAX_BYTES = 1 << 20
BODY = {"model": MODEL, "prompt": "a b", "max_tokens": 3}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def client_of(port: int, key: str | None = None, scheme: str = "http") -> AsyncIterator[Client]:
    client = Client(Address(f"{scheme}://127.0.0.1:{port}", "/v1", MODEL), connections=4, max_bytes=MAX_BYTES, key=key)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def both(**about: Any) -> AsyncIterator[tuple[UpstreamServer, Client]]:
    async with upstream_server(**about) as server, client_of(server.port) as client:
        yield server, client


async def events(client: Client) -> list[Any]:
    async with contextlib.aclosing(client.stream("/v1/completions", BODY | {"stream": True})) as stream:
        return [event async for event in stream]


async def failing(client: Client, *, streams: bool = False) -> UpstreamError:
    """How a call fails, which it does in a bounded time."""
    async with asyncio.timeout(30):
        with pytest.raises(UpstreamError) as caught:
            await (events(client) if streams else client.post("/v1/completions", BODY))
    return caught.value


async def test_a_text_whole_and_as_events() -> None:
    async with both() as (_, client):
        whole = await client.post("/v1/completions", BODY)
        assert whole["choices"][0]["text"] == " 2 3 4"
        parts = await events(client)
        assert [part["choices"][0]["text"] for part in parts[:-1]] == [" 2", " 3", " 4", ""]
        assert parts[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3}


async def test_connections_are_used_again() -> None:
    ports = set()

    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        ports.add(request.transport.get_extra_info("peername")[1])  # type: ignore[union-attr]
        return await server.behave(request, body)

    async with both() as (server, client):
        server.answer = answer
        for _ in range(3):
            await client.post("/v1/completions", BODY)
            await events(client)
        assert len(ports) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (404, RefusedError),
        (413, RefusedError),
        (422, RefusedError),
        (401, DeniedError),
        (403, DeniedError),
        (408, UnavailableError),
        (429, BusyError),
        (500, AnswerError),
        (501, AnswerError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, UnavailableError),
        (599, AnswerError),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_status_that_is_an_error(status: int, kind: type[UpstreamError], streams: bool) -> None:
    async with both() as (server, client):
        server.answer = saying(status, "so\nit\x00is" + 2000 * "!")
        error = await failing(client, streams=streams)
        assert type(error) is kind
        assert "so it is!!!" in str(error)
        assert len(str(error)) < 700
        # the same in the body of an answer that says 200
        server.answer = giving({"error": {"message": "so it is", "code": status}})
        error = await failing(client, streams=streams)
        assert type(error) is kind
        assert "so it is" in str(error)


@pytest.mark.parametrize(
    ("said", "milliseconds"),
    [("7", 7000), ("0.5", 500), ("-1", 1000), ("x", 1000), ("1e99", 3_600_000), ("nan", 1000), ("inf", 3_600_000)],
)
async def test_retry_after_is_passed_on(said: str, milliseconds: int) -> None:
    async with both() as (server, client):
        for status in (429, 503):
            server.answer = saying(status, "later", Retry_After=said)
            error = await failing(client)
            assert error.prediction_error().retry_after_ms == milliseconds


@pytest.mark.parametrize("body", ["", "{", "<html>no</html>", "\ufeff{}", '{"a": "\\ud800"}', "NaN", "[" * 100_000])
async def test_what_is_no_json(body: str) -> None:
    async with both() as (server, client):
        server.answer = giving(body)
        assert "its answer is no JSON" in str(await failing(client))
        server.answer = streaming(f"data: {body or 'x'}\n\n")
        assert "its answer is no JSON" in str(await failing(client, streams=True))


async def test_redirects_are_not_followed() -> None:
    async with both() as (server, client), upstream_server() as other:

        async def answer(_request: web.Request, _body: Any) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{other.port}/v1/completions")

        server.answer = answer
        assert "redirects /v1/completions elsewhere, which is not followed" in str(await failing(client))
        assert not other.bodies


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD + b"\r\n{",
        HEAD + b"Content-Length: 100\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: " + b"a" * 1_000_000,
        HEAD + b"X: a\r\n" * 100_000,
        b"HTTP/1.1 700 \r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x00\xff" * 1000,
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_what_is_no_http_or_cut(data: bytes, streams: bool) -> None:
    async with both() as (server, client):
        server.answer = sending(data)
        assert isinstance(await failing(client, streams=streams), AnswerError | UnavailableError)
        server.answer = None
        assert await client.post("/v1/completions", BODY)


@pytest.mark.parametrize("pieces", [[b"a" * 65_536] * 40, [b"data: " + b"1" * 65_536] * 40])
async def test_an_endless_answer_is_left(pieces: list[bytes]) -> None:
    async with both() as (server, client):
        server.answer = streaming(*pieces)
        assert f"more than {MAX_EVENT_BYTES} bytes" in str(await failing(client, streams=True))
        server.answer = giving("1" * (MAX_BYTES + 1))
        assert f"more than {MAX_BYTES} bytes came (setting message_bytes)" in str(await failing(client))


async def test_an_error_is_read_only_as_far_as_it_is_shown() -> None:
    async with both() as (server, client):
        server.answer = saying(400, "a" * (1 << 20))
        assert str(await failing(client)) == "HTTP status 400"


async def test_a_compressed_answer_is_not_expanded() -> None:
    async def answer(_request: web.Request, _body: Any) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})

    async with both() as (server, client):
        server.answer = answer
        assert "a compressed answer came" in str(await failing(client))


async def test_a_stream_that_is_none() -> None:
    async with both() as (server, client):
        server.answer = giving(completion("a", "stop"))
        assert "application/json came instead of text/event-stream" in str(await failing(client, streams=True))


async def test_an_error_in_the_middle_of_a_stream() -> None:
    async with both() as (server, client):
        for name in ("data", "error"):
            server.answer = streaming('data: {"choices": []}\n\n', f'{name}: {{"error": {{"code": 503}}}}\n\n')
            assert isinstance(await failing(client, streams=True), UnavailableError)


async def test_nobody_there() -> None:
    async with client_of(free_port()) as client:
        assert isinstance(await failing(client), UnavailableError)


async def test_leaving_ends_the_servers_work() -> None:
    async with both() as (server, client):
        server.go_on.clear()
        task = asyncio.create_task(client.post("/v1/completions", BODY))
        await server.until(lambda: server.begun)
        task.cancel()
        await server.until(lambda: server.ended)


async def test_the_key_is_in_the_header_alone() -> None:
    async with upstream_server() as server:
        server.key = KEY
        async with client_of(server.port) as client:
            assert isinstance(await failing(client), DeniedError)
        async with client_of(server.port, "sk-another") as client:
            error = await failing(client)
            assert "Incorrect API key provided: Bearer ***" in str(error)
            assert "sk-another" not in str(error)
        async with client_of(server.port, KEY) as client:
            assert (await client.post("/v1/completions", BODY))["choices"]
            server.answer = giving({"error": {"message": f"your key {KEY} is fine", "code": 400}})
            assert str(await failing(client)) == "your key *** is fine"


async def test_tls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    about = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *about]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with upstream_server(tls=context) as server:
        async with client_of(server.port, scheme="https") as client:
            assert "no connection by TLS" in str(await failing(client))
        async with client_of(server.port) as client:
            assert isinstance(await failing(client), UpstreamError)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with client_of(server.port, scheme="https") as client:
            assert (await client.post("/v1/completions", BODY))["choices"]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_in_place_of_an_answer(data: bytes, with_head: bool) -> None:
    async def ask() -> None:
        async with both() as (server, client):
            server.answer = sending((HEAD + b"\r\n" if with_head else b"") + data)
            with contextlib.suppress(UpstreamError):
                async with asyncio.timeout(30):
                    await client.post("/v1/completions", BODY)

    asyncio.run(ask())


def test_errors_of_servers_in_other_forms() -> None:
    async def ask(body: str) -> str:
        async def answer(_request: web.Request, _body: Any) -> web.StreamResponse:
            return web.Response(text=body, status=400)

        async with both() as (server, client):
            server.answer = answer
            return str(await failing(client))

    said = {
        '{"error": "a", "error_type": "validation"}': "a",
        '{"detail": [{"loc": ["body"], "msg": "b"}]}': '[{"loc":["body"],"msg":"b"}]',
        '{"object": "error", "message": "c", "code": 400}': "c",
        "d": "d",
        "": "HTTP status 400",
        "[1]": "[1]",
        "null": "null",
    }
    for body, expected in said.items():
        assert asyncio.run(ask(body)) == expected
