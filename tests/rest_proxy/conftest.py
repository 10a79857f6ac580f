"""The proxy as it runs, in front of real Thrift servers, on free ports of 127.0.0.1."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import structlog
import uvloop
from predictor.ttypes import ServerStatus

from rest_proxy.config import Address, Settings
from rest_proxy.lifecycle import listening
from server import config
from server.rpc.handler import Handler
from server.transport import server as transport
from server.transport.limits import limits_of
from tests.rest_proxy.thrift_server import ThriftServer
from tests.support.letters import Letters, registry_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the proxy runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def new_server() -> Iterator[Callable[..., ThriftServer]]:
    """Starts Thrift servers, which end with the test."""
    servers: list[ThriftServer] = []

    def start(*arguments: Any) -> ThriftServer:
        servers.append(ThriftServer(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(new_server: Callable[..., ThriftServer]) -> ThriftServer:
    """One Thrift server."""
    return new_server()


@dataclass(frozen=True)
class Answer:
    """What came back, read to its end."""

    status: int
    headers: Any
    body: bytes
    json: Any


@dataclass(frozen=True)
class Proxy:
    """A running proxy and a client for it."""

    port: int
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request as aiohttp's client does."""
        async with self.session.request(method, self.url + path, **options) as response:
            body = await response.read()
            is_json = response.content_type == "application/json" and body
            return Answer(response.status, response.headers, body, await response.json() if is_json else None)

    async def curl(self, *arguments: str) -> str:
        """What curl prints; URL in an argument stands for the proxy's address."""
        command = ["curl", "--silent", "--show-error", *(part.replace("URL", self.url) for part in arguments)]
        process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors
        return out.decode()


@pytest.fixture
async def new_proxy() -> AsyncIterator[Callable[..., Any]]:
    """Starts proxies in front of servers, with settings; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*servers: Any, **settings: Any) -> Proxy:
            addresses = tuple(getattr(server, "address", server) for server in servers)
            port = await stack.enter_async_context(listening(Settings(thrift=addresses, port=0, **settings)))
            connector = aiohttp.TCPConnector(limit=0)
            return Proxy(port, await stack.enter_async_context(aiohttp.ClientSession(connector=connector)))

        yield start


@pytest.fixture
async def proxy(new_proxy: Callable[..., Any], server: ThriftServer) -> Proxy:
    """A proxy with its default settings in front of one server."""
    return await new_proxy(server)


@pytest.fixture
async def letters() -> AsyncIterator[tuple[Letters, Address]]:
    """A model whose answers are computed from letters, and where the server's own handler serves it."""
    settings, model = config.Settings(), Letters()
    handler = Handler(registry_of(settings, letters=model), settings, lambda: ServerStatus("", 0.0, True, [], 0, []))
    server = transport.ThriftServer(handler, limits_of(settings), structlog.get_logger())
    await server.start("127.0.0.1", 0)
    yield model, Address("127.0.0.1", server.port)
    server.close()


@pytest.fixture
async def of_letters(new_proxy: Callable[..., Any], letters: tuple[Letters, Address]) -> Proxy:
    """A proxy with its default settings in front of the model."""
    proxy: Proxy = await new_proxy(letters[1])
    return proxy
