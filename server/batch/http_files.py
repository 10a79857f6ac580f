"""Files of web servers, for reading."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import aiohttp
from fsspec.asyn import sync  # type: ignore[import-untyped]
from fsspec.implementations.http import HTTPFileSystem  # type: ignore[import-untyped]

from server.batch.files import BLOCK_BYTES, StorageError
from server.batch.locations import LocationError, parse

if TYPE_CHECKING:
    from server.batch.locations import Allowed, Location

_CONNECT_S = 30
_SILENCE_S = 120  # also what a server may take to begin its answer
_TOTAL = re.compile(r"bytes 0-0/(\d+)")


class HttpFiles:
    """A Store. Redirections may lead only where the settings allow."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._store = HTTPFileSystem(skip_instance_cache=True, get_client=self._client, encoded=True)

    def below(self, location: Location) -> list[tuple[str, int]]:
        raise StorageError(f"{location.text}: web servers cannot list what lies below a location; name one file")

    def size(self, location: Location) -> int | None:
        return self._probe(location)[1]

    def open(self, location: Location) -> Any:
        in_ranges, size = self._probe(location)
        if in_ranges:
            return self._store.open(location.text, block_size=BLOCK_BYTES, size=size, cache_type="readahead")
        # one answer, read as it comes; any size will do, as without one fsspec asks for it by HEAD
        file = self._store.open(location.text, block_size=0, size=size or 1)
        file.seekable = lambda: False  # fsspec says otherwise
        return file

    def create(self, location: Location) -> Any:
        raise StorageError(f"{location.text} cannot be written: http and https locations are for reading")

    def delete_leftovers(self, location: Location) -> None:
        """There are none."""

    def _probe(self, location: Location) -> tuple[bool, int | None]:
        """Whether the server gives ranges, and the size. By GET, because signed URLs often allow no HEAD."""
        result: tuple[bool, int | None] = sync(self._store.loop, self._ask, location.text)
        return result

    async def _ask(self, url: str) -> tuple[bool, int | None]:
        session = await self._store.set_session()
        async with session.get(self._store.encode_url(url), headers={"Range": "bytes=0-0"}) as answer:
            total = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status == 206 and total is not None:
                return True, int(total[1])
            if answer.status == 416:  # an empty file has no byte 0
                return False, None
            if answer.status == 404:
                raise FileNotFoundError(url)
            if answer.status >= 400:
                raise StorageError(f"{url} cannot be read: the server answers {answer.status} {answer.reason}")
            return False, answer.content_length

    async def _client(self, **options: Any) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(self._check_redirection)
        return aiohttp.ClientSession(
            trace_configs=[tracing],
            auto_decompress=False,  # a .gz file is unpacked once, by its reader
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
            loop=options["loop"],
        )

    async def _check_redirection(
        self, _session: aiohttp.ClientSession, _context: Any, redirection: aiohttp.TraceRequestRedirectParams
    ) -> None:
        target = urljoin(str(redirection.url), redirection.response.headers.get("Location", ""))
        try:
            self._allowed.check(parse(target), "read")
        except LocationError as error:
            raise LocationError(f"{redirection.url} leads to another place: {error}") from None
