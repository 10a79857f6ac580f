"""Where a model of an OpenAI-compatible server is: openai://HOST:PORT/MODEL, or openais:// for TLS."""

from __future__ import annotations

import re
from typing import NamedTuple

from server.errors import ModelError

SCHEMES = ("openai://", "openais://")

_URL = re.compile(r"openai(s?)://(\[[0-9a-fA-F:.]+\]|[^/:@?#\s]+):(\d{1,5})/((?:[^?#\s]+/)?v1/)?([^?#\s]+?)/?")
_FORM = (
    "{location!r} is not of the form openai://HOST:PORT/MODEL (openais:// for TLS), such as"
    " openai://localhost:8000/meta-llama/Llama-3.1-8B; where the server's API lies deeper, openais://HOST:443/api/v1/MODEL"
)


class Address(NamedTuple):
    """A model on a server."""

    url: str
    """http://HOST:PORT or https://HOST:PORT."""
    base: str
    """Path below which the API lies, without a slash at its end: /v1."""
    model: str
    """What the server calls the model."""

    @property
    def server(self) -> str:
        """HOST:PORT, for messages."""
        return self.url.partition("://")[2]

    @property
    def prefix(self) -> str:
        """The same path without the version at its end, for what lies beside it."""
        return self.base.removesuffix("/v1")


def is_upstream(location: str) -> bool:
    """Whether a location names a model of such a server."""
    return location.startswith(SCHEMES)


def parse_location(location: str) -> Address:
    """Its parts. Raises ModelError."""
    parts = _URL.fullmatch(location)
    if parts is None or not 1 <= int(parts[3]) <= 65535 or parts[5] == "v1":
        raise ModelError(_FORM.format(location=location))
    return Address(f"http{parts[1]}://{parts[2]}:{parts[3]}", f"/{parts[4] or 'v1/'}".rstrip("/"), parts[5])


def short_name(location: str) -> str:
    """The model's name without its owner, of a location that may be wrong."""
    return location.rstrip("/").rpartition("/")[2]
