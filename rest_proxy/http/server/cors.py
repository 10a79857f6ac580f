"""Pages of other origins that may call: CORS (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PREFLIGHT = "Access-Control-Request-Method"
"""The header by which a browser's question is known."""
_ORIGIN = "Origin"
_ASKED_HEADERS = "Access-Control-Request-Headers"
_EXPOSED = "X-Request-Id, X-Rows, X-Columns, X-Batch-Id, Retry-After, Location"
_MAX_AGE_S = 600
_LONGEST = 1024


class Cors:
    """Of the setting cors_origins: an origin is a scheme, a host and a port, as browsers send it; * is every one."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self.on = bool(self._origins)
        self.vary = _ORIGIN if self.on else None
        """What every answer's header Vary has, also of a request that has no origin."""

    def concerns(self, request_headers: Mapping[str, str]) -> bool:
        """Whether more is to be said to a request with these headers than `vary`."""
        return _ORIGIN in request_headers

    def headers(self, request_headers: Mapping[str, str]) -> dict[str, str]:
        """What an answer to a request with these headers has beside its own."""
        if not self.on:
            return {}
        vary = {"Vary": _ORIGIN}
        origin = request_headers.get(_ORIGIN)
        if origin is None or not self.allows(origin):
            return vary
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED, **vary}

    def preflight(self, request_headers: Mapping[str, str], allowed: str) -> dict[str, str] | None:
        """What the answer to a browser's question has, where `allowed` are the path's methods; None if it is none."""
        origin = request_headers.get(_ORIGIN)
        if origin is None or PREFLIGHT not in request_headers or not self.allows(origin):
            return None
        asked = request_headers.get(_ASKED_HEADERS, "")
        return {
            "Access-Control-Allow-Methods": allowed,
            "Access-Control-Max-Age": str(_MAX_AGE_S),
            **({"Access-Control-Allow-Headers": asked} if 0 < len(asked) <= _LONGEST else {}),
        }

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        return len(origin) <= _LONGEST and ("*" in self._origins or origin in self._origins)
