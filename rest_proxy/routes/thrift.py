"""POST /thrift: a message of Thrift in the body, and its answer in the answer's, as Apache's HTTP clients have it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.content import JSON
from rest_proxy.http.errors import invalid_argument, unsupported_media_type
from rest_proxy.http.responses import REQUEST_ID, Whole
from rest_proxy.http.route import SERVER_ERRORS, Answer, Route

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

PATH = "/thrift"

_ANY = "application/x-thrift"
_BINARY, _COMPACT, _JSON = "binary", "compact", "JSON"
_PROTOCOLS = {
    _ANY: None,
    "application/vnd.apache.thrift.binary": _BINARY,
    "application/vnd.apache.thrift.compact": _COMPACT,
    "application/vnd.apache.thrift.json": _JSON,
    JSON: _JSON,
}
_BEGINNINGS = (
    (_BINARY, re.compile(rb"\x80\x01\x00(.)|\x00\x00..[A-Za-z_]", re.DOTALL)),
    (_COMPACT, re.compile(rb"\x82[\x01\x02\x21\x22\x41\x42\x61\x62\x81\x82]")),
    (_JSON, re.compile(rb'\[1,"[^"]*",(\d)')),
)
_ONEWAY = 4


class ThriftMessages:
    """Hands messages to a server as they are, so that every protocol works that the Thrift port knows."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """The server's answer, of the request's content type. Its errors are Thrift's own, with status 200."""
        content_type = request.content_type
        if content_type not in _PROTOCOLS:
            raise unsupported_media_type(content_type, " or ".join(_PROTOCOLS))
        message = await read_body(request, self._settings)
        protocol = _protocol_of(message)
        declared = _PROTOCOLS[content_type]
        if protocol is None or declared not in (None, protocol):
            expected = f"of the {declared} protocol" if declared else "of Thrift, without a frame"
            raise invalid_argument(f"expected a message {expected} (content type {content_type})")
        answer = await self._pool.message(message, is_oneway=_is_oneway(message, protocol))
        return Whole(answer, {"Content-Type": content_type, REQUEST_ID: request_id})


def _protocol_of(message: bytes) -> str | None:
    """What a message is written in; None when it is none."""
    return next((name for name, beginning in _BEGINNINGS if beginning.match(message)), None)


def _is_oneway(message: bytes, protocol: str) -> bool:
    """Whether the message wants no answer."""
    if protocol == _COMPACT:
        return message[1] >> 5 == _ONEWAY
    if protocol == _JSON:
        found = _BEGINNINGS[2][1].match(message)
        return found is not None and int(found[1]) == _ONEWAY
    if message[0] == 0x80:
        return message[3] == _ONEWAY
    size = int.from_bytes(message[:4], "big")
    return message[4 + size : 5 + size] == bytes([_ONEWAY])


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/thrift."""
    return [
        Route(
            path=PATH,
            methods=("POST",),
            answer=ThriftMessages(settings, pool),
            name="thrift",
            summary="A Thrift call over HTTP",
            tag="thrift",
            answers=(Answer({_ANY: {"type": "string"}}),),
            errors=SERVER_ERRORS,
        )
    ]
