"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) as an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from aiohttp import HttpVersion11, web
from pydantic_core import to_json

from rest_proxy.http.errors import HttpError, explain
from rest_proxy.http.responses import REQUEST_ID, error_object

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx in front of the proxy must not collect the events
}
_ERROR_PREFIX = b"event: error\ndata: "


class EventStream:
    """The answer starts with the block. An error inside becomes the last event, because the status is sent already.

    When the client goes away, the block ends with ConnectionError or CancelledError.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        request_id: str,
        error_object: Callable[[HttpError, str], dict[str, Any]] = error_object,
        error_prefix: bytes = _ERROR_PREFIX,
    ) -> None:
        self._request = request
        self._request_id = request_id
        self._error_object = error_object
        self._error_prefix = error_prefix
        self.response = web.StreamResponse(headers={**_HEADERS, REQUEST_ID: request_id})

    async def __aenter__(self) -> Self:
        if self._request.version < HttpVersion11:  # it knows the end by that of the connection alone
            self.response.force_close()
        await self.response.prepare(self._request)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if error is not None:
            if isinstance(error, ConnectionError) or not isinstance(error, Exception):
                return False
            what = explain(error, self._request.rel_url.raw_path, self._request_id)
            await self._write(self._error_prefix, to_json(self._error_object(what, self._request_id)))
        await self.response.write_eof()
        return True

    async def send(self, value: Any) -> None:
        """An event with `value` as JSON."""
        await self._write(b"data: ", to_json(value))

    async def send_named(self, name: str, value: Any) -> None:
        """An event of a type of its own, with `value` as JSON."""
        await self._write(b"event: %b\ndata: " % name.encode(), to_json(value))

    async def send_text(self, text: str) -> None:
        """An event with a line of text."""
        await self._write(b"data: ", text.encode())

    async def heartbeat(self) -> None:
        """A comment, which clients skip: it keeps proxies in between from closing a silent connection."""
        await self._write(b":", b"")

    async def _write(self, prefix: bytes, data: bytes) -> None:
        await self.response.write(b"%b%b\n\n" % (prefix, data))
