"""Sockets to listen on: opened, accepted from, and closed so that nobody is reset who was about to come in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def tcp_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`, all on one port; 0: the system chooses it.

    `::` is every address of the machine, those of IPv4 too. Raises OSError.
    """
    if host == "::":
        family = socket.AF_INET6
        return [socket.create_server(("::", port), family=family, backlog=backlog, dualstack_ipv6=True)]
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(socket.create_server((address[0], port, *address[2:]), family=family, backlog=backlog))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                failure = error  # the machine has no IPv6, say
            else:
                port = sockets[0].getsockname()[1]
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    if failure is not None and not sockets:
        raise failure
    return sockets


def unix_socket(path: Path, backlog: int) -> socket.socket:
    """A socket that listens at `path`, where nobody else does. Raises OSError.

    A socket's file that a server left there which has ended is removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


class Listener:
    """Sockets from which connections are accepted, each for a protocol of its own. Belongs to the event loop."""

    def __init__(
        self, sockets: Sequence[socket.socket], protocol: Callable[[], asyncio.BaseProtocol], backlog: int
    ) -> None:
        self._sockets = list(sockets)
        self._protocol = protocol
        self._backlog = backlog
        self._servers: list[asyncio.Server] = []
        self._files = [name for opened in sockets if (name := _file_of(opened))]
        self.port = next((opened.getsockname()[1] for opened in sockets if not _file_of(opened)), 0)

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for opened in self._sockets:
            make = loop.create_unix_server if _file_of(opened) else loop.create_server
            self._servers.append(await make(self._protocol, sock=opened, backlog=self._backlog))

    async def stop(self) -> None:
        """Accept those that have connected by now, and then no more.

        A connection that the system has opened, but nobody has accepted, is reset when its listening socket is closed.
        So they are accepted first, up to the moment in which it is.
        """
        kept = [opened.dup() for opened in self._sockets] if self._servers else []
        self.close()
        for opened in kept:
            with opened:
                opened.setblocking(False)
                await self._accept_waiting(opened)

    async def _accept_waiting(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = opened.accept()
            except OSError:  # none waits, or there are no more open files
                return
            accepted.setblocking(False)
            with contextlib.suppress(OSError):  # it has gone
                await loop.connect_accepted_socket(self._protocol, accepted)

    def close(self) -> None:
        """Accept no more, at once."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        files, self._files = self._files, []
        for name in files:
            with contextlib.suppress(OSError):
                Path(name).unlink()


def _file_of(opened: socket.socket) -> str | None:
    """The path of a unix socket."""
    return str(opened.getsockname()) if opened.family == socket.AF_UNIX else None
