"""A whole small request, with as much of aiohttp's request as handlers of such requests use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yarl import URL

if TYPE_CHECKING:
    import asyncio

    from multidict import MultiMapping

    from rest_proxy.http.fast.heads import Head


class Target:
    """The path and the query of a request, as they came; what else a URL has is made when it is asked for."""

    __slots__ = ("raw_path", "raw_query_string")

    def __init__(self, raw_path: str, raw_query_string: str) -> None:
        self.raw_path = raw_path
        self.raw_query_string = raw_query_string

    @property
    def query(self) -> MultiMapping[str]:
        """The fields of the query, decoded."""
        return self._url.query

    @property
    def query_string(self) -> str:
        """The query, decoded."""
        return self._url.query_string if self.raw_query_string else ""

    @property
    def _url(self) -> URL:
        return URL.build(path=self.raw_path, query_string=self.raw_query_string, encoded=True)


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

    def __init__(
        self,
        method: str,
        target: Target,
        head: Head,
        body: bytes,
        transport: asyncio.Transport,
    ) -> None:
        self.method = method
        self.rel_url = target
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
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else name

    async def read(self) -> bytes:
        """The body."""
        return self.body
