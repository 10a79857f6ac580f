"""Requests to web servers: each redirection is looked at, and so is each address that is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from server.batch.storage.errors import LocationError, StorageError
from server.batch.storage.locations import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.batch.storage.permissions import AllowedLocations

_CONNECT_S = 30
_SILENCE_S = 120  # also what a server may take to begin its answer
_REDIRECTIONS = 10
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _AddressError(OSError):
    def __str__(self) -> str:
        return (
            "its address is this machine's or one of its networks': batch_buckets must name the host (batch_schemes"
            " allows those that the whole internet reaches)"
        )


class Web:
    """Belongs to the event loop that it is first used on.

    Redirections are followed here, and by no library: each may lead only where the settings allow. A host that only a
    whole scheme allows (batch_schemes) must have an address that the whole internet reaches: neither this machine's nor
    its networks', nor that of a cloud's metadata.
    """

    def __init__(self, allowed: AllowedLocations) -> None:
        self._allowed = allowed
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def get(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The answer, which the caller closes. Raises LocationError, StorageError, and aiohttp's errors."""
        asked = url
        for _ in range(_REDIRECTIONS + 1):
            answer = await self._ask(asked, headers)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            answer.close()
            target = answer.headers.get("Location")
            if target is None:
                raise StorageError(f"{asked} cannot be read: the server answers {answer.status} without a Location")
            asked = self._redirected(asked, target)
        raise StorageError(f"{url} cannot be read: it is redirected more than {_REDIRECTIONS} times")

    async def _ask(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        try:
            return await self._session(url).get(URL(url, encoded=True), headers=headers, allow_redirects=False)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _AddressError):
                raise LocationError(f"{url!r} is not allowed: {error.os_error}", "batch_buckets") from None
            raise

    def _redirected(self, asked: str, target: str) -> str:
        try:
            found = urldefrag(urljoin(asked, target)).url
            self._allowed.check(parse(found), "read")
        except ValueError as error:  # a LocationError is one
            raise LocationError(f"{asked} leads to another place: {error}") from None
        return found

    def _session(self, url: str) -> aiohttp.ClientSession:
        """Two, as connections are kept: one that was made to any address is not used where only some are allowed."""
        any_address = self._allowed.allows_any_address(parse(url))
        if any_address not in self._sessions:
            self._sessions[any_address] = session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=_socket if any_address else _public_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a .gz file is unpacked once, by its reader
                headers={"Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
            )
            weakref.finalize(self, HTTPFileSystem.close_session, asyncio.get_running_loop(), session)
        return self._sessions[any_address]


def is_public(text: str) -> bool:
    """Whether the whole internet reaches an address, also one that stands for an IPv4 address."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return address.is_global and not address.is_multicast


def _socket(where: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = where
    return socket.socket(family=family, type=kind, proto=protocol)


def _public_socket(where: tuple[Any, ...]) -> socket.socket:
    """Called with an address just before it is connected to, however it was found."""
    if not is_public(str(where[4][0])):
        raise _AddressError
    return _socket(where)
