"""Sockets to listen on, and their end."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from process.listening import Listener, tcp_sockets, unix_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: the server's, and Python's own."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport) or hasattr(self.transport, "write")
        self.transport.write(data)


def echoed(family: int, address: object) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect(address)
        client.sendall(b"hello")
        return client.recv(16)


async def test_every_interface_is_those_of_both_families() -> None:
    listener = Listener(tcp_sockets("::", 0, 16), Echo, 16)
    await listener.start()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        assert await asyncio.to_thread(echoed, family, (host, listener.port)) == b"hello"
    listener.close()


async def test_a_name_with_several_addresses_has_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),  # no address of this machine
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sockets = tcp_sockets("a-name", 0, 16)
    assert len(sockets) == 2
    assert len({opened.getsockname()[1] for opened in sockets}) == 1
    for opened in sockets:
        opened.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[2:])
    with pytest.raises(OSError, match=r"192\.0\.2\.1|assign") as caught:
        tcp_sockets("a-name", 0, 16)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(OSError) as caught:  # noqa: PT011  # its number says it
        tcp_sockets("127.0.0.1", holder.getsockname()[1], 16)
    assert caught.value.errno == errno.EADDRINUSE


async def test_those_that_wait_to_be_accepted_are_served_and_not_reset() -> None:
    """The loop has no time to accept them before the listener is stopped."""
    listener = Listener(tcp_sockets("127.0.0.1", 0, 64), Echo, 64)
    await listener.start()
    clients = []
    for _ in range(20):  # the system opens them while this thread, which would accept them, goes on
        clients.append(socket.create_connection(("127.0.0.1", listener.port), 60))
        clients[-1].sendall(b"hello")
    await listener.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), 60)
    for client in clients:
        assert await asyncio.to_thread(client.recv, 16) == b"hello"
        client.close()


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = Listener([unix_socket(path, 16)], Echo, 16)
    await listener.start()
    assert await asyncio.to_thread(echoed, socket.AF_UNIX, str(path)) == b"hello"
    with pytest.raises(OSError, match="in use"):
        unix_socket(path, 16)
    listener.close()
    assert not path.exists()


def test_a_unix_socket_that_a_dead_server_has_left(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    left = unix_socket(path, 16)
    left.close()
    assert path.exists()
    unix_socket(path, 16).close()
    path.unlink()
    path.write_text("a file of somebody's")
    with pytest.raises(OSError, match="in use"):
        unix_socket(path, 16)
    assert path.read_text() == "a file of somebody's"
