"""The proxy's own pages: each one file without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path

from aiohttp import web

from rest_proxy.http.responses import REQUEST_ID

_FOLDER = Path(__file__).with_name("static")


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


class _Inline(HTMLParser):
    """Collects the scripts and styles of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: str | None = None

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag in self.texts:
            self.texts[tag].append("")
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.texts[self._inside][-1] += data


def _content_security_policy(page: str) -> str:
    """A policy that lets the page run its own script and style and call its own origin, and nothing else."""
    inline = _Inline()
    inline.feed(page)
    inline.close()
    scripts, styles = (" ".join(map(_digest, inline.texts[tag])) for tag in ("script", "style"))
    return (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src {scripts}; style-src {styles}"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
