"""Files of web servers, for reading."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import aiohttp
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem

from server.batch.storage.backends.backend import RangeFile
from server.batch.storage.errors import LocationError, StorageError, changed
from server.batch.storage.locations import parse

if TYPE_CHECKING:
    from server.batch.storage.locations import Location
    from server.batch.storage.permissions import AllowedLocations

_CONNECT_S = 30
_SILENCE_S = 120  # also what a server may take to begin its answer
_CONTENT_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


class _Version(NamedTuple):
    """What tells a version of a file from others."""

    size: int
    mark: str | None
    """Its ETag, else when it was modified; None when the server says neither."""


class HttpBackend:
    """Redirections may lead only where the settings allow."""

    def __init__(self, allowed: AllowedLocations) -> None:
        self._allowed = allowed
        self._files = HTTPFileSystem(skip_instance_cache=True, get_client=self._client, encoded=True)

    def list_below(self, location: Location) -> list[tuple[str, int]]:
        raise StorageError(f"{location.text}: web servers cannot list what lies below a location; name one file")

    def size(self, location: Location) -> int | None:
        found = self._probe(location)
        return found.size if isinstance(found, _Version) else found

    def open(self, location: Location) -> Any:
        found = self._probe(location)
        if isinstance(found, _Version):
            return RangeFile(partial(self._fetch, location.text, found), found.size)
        # one answer, read as it comes; any size will do, as without one fsspec asks for it by HEAD
        file = self._files.open(location.text, block_size=0, size=found or 1)
        file.seekable = lambda: False  # fsspec says otherwise
        return file

    def create(self, location: Location) -> Any:
        raise StorageError(f"{location.text} cannot be written: http and https locations are for reading")

    def delete_leftovers(self, location: Location) -> None:
        """There are none."""

    def _probe(self, location: Location) -> _Version | int | None:
        """The version where the server gives ranges, else the size. By GET, because signed URLs often allow no HEAD."""
        found: _Version | int | None = sync(self._files.loop, self._ask, location.text)
        return found

    async def _ask(self, url: str) -> _Version | int | None:
        async with await self._get(url, 0, 1) as answer:
            if answer.status == 416:  # an empty file has no byte 0
                return None
            _check_status(url, answer)
            return _version(answer) or answer.content_length

    def _fetch(self, url: str, version: _Version, start: int, end: int) -> bytes:
        data: bytes = sync(self._files.loop, self._ask_range, url, version, start, end)
        return data

    async def _ask_range(self, url: str, version: _Version, start: int, end: int) -> bytes:
        async with await self._get(url, start, end) as answer:
            if answer.status != 416:  # the file has become shorter
                _check_status(url, answer)
            if _version(answer) != version:
                raise changed(url)
            data: bytes = await answer.read()
        return data

    async def _get(self, url: str, start: int, end: int) -> Any:
        session = await self._files.set_session()
        return session.get(self._files.encode_url(url), headers={"Range": f"bytes={start}-{end - 1}"})

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


def _check_status(url: str, answer: aiohttp.ClientResponse) -> None:
    if answer.status == 404:
        raise FileNotFoundError(url)
    if answer.status >= 400:
        raise StorageError(f"{url} cannot be read: the server answers {answer.status} {answer.reason}")


def _version(answer: aiohttp.ClientResponse) -> _Version | None:
    """None where the answer is no range of the file."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or found is None:
        return None
    return _Version(int(found[1]), answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
