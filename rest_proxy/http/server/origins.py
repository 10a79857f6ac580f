"""Requests that a page of somebody else's made a browser send.

Where there are no tokens, a request counts that reaches the port, and a browser beside it reaches it too: for any page
that it shows, by a form, an image or a script, and even reads the answers for one whose name leads here (DNS
rebinding). So the name in Host must be one of ours, and the origin that a browser tells must be, too.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from predictor.ttypes import ErrorCode

from rest_proxy.http.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_proxy.config import Settings
    from rest_proxy.http.route import Route
    from rest_proxy.http.server.cors import Cors

_OF_NO_PUBLIC_DNS = ("localhost", "local", "internal", "intranet", "lan", "svc", "test", "home.arpa")
_SHOWN = 64
_MOST_KNOWN = 256
_OTHER_SITES = ("cross-site", "same-site")


class Origins:
    """Which hosts and origins are ours.

    An address is, and so is a name that nobody can have in the public DNS: one without a dot, or below such a domain as
    `.local`. Others are named by the setting hosts.
    """

    def __init__(self, settings: Settings, cors: Cors) -> None:
        self._hosts = frozenset(name.lower() for name in (*settings.hosts, settings.host))
        self._cors = cors
        self._known: set[str] = set()

    def allows(self, headers: Mapping[str, str], route: Route) -> bool:
        """Whether `check` has nothing against it."""
        try:
            self.check(headers, route)
        except HttpError:
            return False
        return True

    def check(self, headers: Mapping[str, str], route: Route) -> None:
        """Raise HttpError for a request of another site."""
        host = headers.get("Host")
        if host is not None and host not in self._known:
            if not self._is_ours(host):
                message = f"the host {host[:_SHOWN]!r} is not known here (setting hosts)"
                raise _refused(message, "hosts")
            if len(self._known) < _MOST_KNOWN:
                self._known.add(host)
        origin = headers.get("Origin")
        if origin is not None and not self._is_same(origin, host) and not self._cors.allows(origin):
            raise _refused(f"pages of {origin[:_SHOWN]!r} may not call (setting cors_origins)", "cors_origins")
        if route.changes and origin is None and _is_from_elsewhere(headers, host):
            raise _refused("a page of another site may not do this (setting cors_origins)", "cors_origins")

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        if name in self._hosts or "*" in self._hosts or "." not in name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(tuple(f".{domain}" for domain in (*_OF_NO_PUBLIC_DNS, "cluster.local")))
        return True

    @staticmethod
    def _is_same(origin: str, host: str | None) -> bool:
        return host is not None and origin.partition("://")[2].lower() == host.lower()


def _name_of(host: str) -> str:
    """The name in `NAME:PORT`, or the address in `[ADDRESS]:PORT`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _is_from_elsewhere(headers: Mapping[str, str], host: str | None) -> bool:
    """Whether a browser sends it for another site's page, as far as it tells.

    Browsers tell it to servers that they trust, which those on this machine are; of others the page decides whether
    they tell anything.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in _OTHER_SITES
    referrer = headers.get("Referer")
    if referrer is not None:
        return referrer.partition("://")[2].partition("/")[0].lower() != (host or "").lower()
    return headers.get("User-Agent", "").startswith("Mozilla/")


def _refused(message: str, setting: str) -> HttpError:
    return HttpError(ErrorCode.PERMISSION_DENIED, message, setting=setting)
