"""Files of web servers, for reading."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec.asyn import get_loop, sync

from server.batch.storage.backends.backend import READ_BYTES, RangeFile
from server.batch.storage.backends.web import Web
from server.batch.storage.errors import StorageError, changed

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from server.batch.storage.locations import Location
    from server.batch.storage.permissions import AllowedLocations

_CONTENT_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


class _Version(NamedTuple):
    """What tells a version of a file from others."""

    size: int
    mark: str | None
    """Its ETag, else when it was modified; None when the server says neither."""


class HttpBackend:
    """All of its requests run on fsspec's event loop."""

    def __init__(self, allowed: AllowedLocations) -> None:
        self._web = Web(allowed)
        self._loop = get_loop()

    def list_below(self, location: Location) -> list[tuple[str, int]]:
        raise StorageError(f"{location.text}: web servers cannot list what lies below a location; name one file")

    def size(self, location: Location) -> int | None:
        found = self._probe(location)
        return found.size if isinstance(found, _Version) else found

    def open(self, location: Location) -> Any:
        found = self._probe(location)
        if isinstance(found, _Version):
            return RangeFile(partial(self._fetch, location.text, found), found.size)
        return _AnswerFile(self._loop, sync(self._loop, self._whole, location.text))

    def create(self, location: Location, owner: str, on_upload: Callable[[str], None]) -> Any:
        raise StorageError(f"{location.text} cannot be written: http and https locations are for reading")

    def delete_leftovers(self, location: Location, owner: str, upload: str | None) -> None:
        """There are none."""

    def _probe(self, location: Location) -> _Version | int | None:
        """The version where the server gives ranges, else the size. By GET, because signed URLs often allow no HEAD."""
        found: _Version | int | None = sync(self._loop, self._ask, location.text)
        return found

    async def _ask(self, url: str) -> _Version | int | None:
        async with await self._range(url, 0, 1) as answer:
            if answer.status == 416:  # an empty file has no byte 0
                return None
            _check_status(url, answer)
            return _version(answer) or answer.content_length

    def _fetch(self, url: str, version: _Version, start: int, end: int) -> bytes:
        data: bytes = sync(self._loop, self._ask_range, url, version, start, end)
        return data

    async def _ask_range(self, url: str, version: _Version, start: int, end: int) -> bytes:
        async with await self._range(url, start, end) as answer:
            if answer.status != 416:  # the file has become shorter
                _check_status(url, answer)
            if _version(answer) != version:
                raise changed(url)
            data: bytes = await answer.read()
        return data

    async def _range(self, url: str, start: int, end: int) -> aiohttp.ClientResponse:
        return await self._web.get(url, {"Range": f"bytes={start}-{end - 1}"})

    async def _whole(self, url: str) -> aiohttp.ClientResponse:
        answer = await self._web.get(url, {})
        try:
            _check_status(url, answer)
        except BaseException:
            answer.close()
            raise
        return answer


class _AnswerFile(io.RawIOBase):
    """One answer, read as it comes."""

    def __init__(self, loop: Any, answer: aiohttp.ClientResponse) -> None:
        self._loop = loop
        self._answer = answer
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        data: bytes = sync(self._loop, self._answer.content.read, min(len(buffer), READ_BYTES))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        if not self.closed:
            self._loop.call_soon_threadsafe(self._answer.close)
        super().close()


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
