"""A whole small request, with as much of aiohttp's request as handlers of such requests use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from rest_proxy.http.fast.heads import Head


class _Complete:
    """A body that has come to its end."""

    @staticmethod
    def is_eof() -> bool:
        """It has."""
        return True


class SmallRequest(dict[Any, Any]):
    """One whose body is there. It holds what handlers note about it, as aiohttp's does."""

    __slots__ = ("_transport", "body", "content_length", "content_type", "headers", "method", "rel_url")

    content = _Complete

    def __init__(self, head: Head, body: bytes, transport: asyncio.Transport) -> None:
        self.method = head.method
        self.rel_url = head
        self.headers = head.headers
        self.content_type = head.content_type
        self.body = body
        self.content_length = len(body) or None
        self._transport = transport

    @property
    def body_exists(self) -> bool:
        """Whether there is one."""
        return bool(self.body)

    @property
    def transport(self) -> asyncio.Transport:
        """Of its connection."""
        return self._transport

    @property
    def remote(self) -> str | None:
        """The client's address, for the log."""
        return address_of(self._transport)

    async def read(self) -> bytes:
        """The body."""
        return self.body


def address_of(transport: asyncio.Transport | None) -> str | None:
    """The address of the client at the other end."""
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else name
