"""Answers compressed where their clients ask for it (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import asyncio
import gzip
from functools import lru_cache
from typing import TYPE_CHECKING

import zstandard

from rest_proxy.http.responses import Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FAST = 1  # of nine levels: the others take several times as long for some per cent
_LONGEST = 256
_HEADER = "Accept-Encoding"


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _FAST, mtime=0)


_CODINGS: dict[str, Callable[[bytes], bytes]] = {"zstd": zstandard.compress, "gzip": _gzip}  # the best first


@lru_cache(maxsize=256)
def coding_of(accepted: str) -> str | None:
    """The coding that a header Accept-Encoding asks for; None where it asks for none that there is."""
    qualities: dict[str, float] = {}
    for choice in accepted[:_LONGEST].split(","):
        name, *parameters = (part.strip().lower() for part in choice.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            qualities[name] = float(quality)
        except ValueError:
            qualities[name] = 0.0
    wanted = {name: qualities.get(name, 0.0 if name == "zstd" else qualities.get("*", 0.0)) for name in _CODINGS}
    best = max(wanted, key=wanted.__getitem__)
    return best if wanted[best] > 0 else None


async def compressed(answer: Whole, request_headers: Mapping[str, str]) -> Whole:
    """The answer as its client wants it; the work is done beside the event loop."""
    headers = dict(answer.plain_headers)
    headers["Vary"] = f"{headers['Vary']}, {_HEADER}" if "Vary" in headers else _HEADER
    coding = coding_of(request_headers.get(_HEADER, "")[:_LONGEST])
    body = answer.plain_body
    if coding is not None:
        headers["Content-Encoding"] = coding
        body = await asyncio.to_thread(_CODINGS[coding], body)
    return Whole(body, headers, answer.status)
