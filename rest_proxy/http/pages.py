"""The proxy's own pages: each one file without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from aiohttp import web

from rest_proxy.http.responses import REQUEST_ID

_FOLDER = Path(__file__).with_name("static")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Page:
    """A page of the folder static as an answer."""

    def __init__(self, name: str) -> None:
        self._body = (_FOLDER / name).read_bytes()
        self._headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _content_security_policy(self._body.decode()),
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept",
        }

    async def __call__(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The page."""
        return web.Response(body=self._body, headers={**self._headers, REQUEST_ID: request_id})


def _content_security_policy(page: str) -> str:
    """A policy that lets the page run its own script and style and call its own origin, and nothing else."""
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src {' '.join(sources['script'])}; style-src {' '.join(sources['style'])}"
    )
