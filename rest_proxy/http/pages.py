"""The proxy's own pages, and Swagger UI's files for one of them: nothing on them comes from elsewhere.

Their links are relative, so that they work behind a proxy that gives the service a path of its own.
"""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.ttypes import ErrorCode

from rest_proxy.http.errors import HttpError
from rest_proxy.http.responses import REQUEST_ID, Whole

if TYPE_CHECKING:
    from aiohttp import web

_FOLDER = Path(__file__).with_name("static")
_SWAGGER_UI = _FOLDER / "swagger-ui"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_KEPT_S = 3600


class Page:
    """A page of the folder static as an answer.

    `with_styles`: a library of its own makes styles while it runs.
    """

    def __init__(self, name: str, *, with_styles: bool = False) -> None:
        self._body = (_FOLDER / name).read_bytes()
        self._headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _content_security_policy(self._body.decode(), with_styles=with_styles),
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept",
        }

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The page; at a path with a slash too many, the way to where its relative links work."""
        path = request.rel_url.raw_path
        if path.endswith("/") and path.strip("/"):
            above = "../" * (len(path) - len(path.rstrip("/")))
            return Whole(b"", {"Location": above + path.strip("/").rpartition("/")[2], REQUEST_ID: request_id}, 308)
        return Whole(self._body, {**self._headers, REQUEST_ID: request_id})


class SwaggerUi:
    """The files of Swagger UI, as npm's package swagger-ui-dist has them."""

    def __init__(self) -> None:
        self._files = {path.name: path.read_bytes() for path in _SWAGGER_UI.iterdir() if path.suffix in _TYPES}

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The file that the path names."""
        name = request.rel_url.raw_path.rpartition("/")[2]
        if name not in self._files:
            raise HttpError(ErrorCode.NOT_FOUND, f"there is no such file; there are {', '.join(sorted(self._files))}")
        headers = {
            "Content-Type": _TYPES[Path(name).suffix],
            "Cache-Control": f"max-age={_KEPT_S}",
            "X-Content-Type-Options": "nosniff",
        }
        return Whole(self._files[name], {**headers, REQUEST_ID: request_id})


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


def _content_security_policy(page: str, *, with_styles: bool) -> str:
    """A policy that lets the page run its own scripts and styles and call its own origin, and nothing else."""
    inline = _Inline()
    inline.feed(page)
    inline.close()
    scripts, styles = (" ".join(map(_digest, filter(None, inline.texts[tag]))) for tag in ("script", "style"))
    styles = "'self' 'unsafe-inline'" if with_styles else styles
    return (
        f"default-src 'none'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src 'self' {scripts}; style-src {styles}"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
