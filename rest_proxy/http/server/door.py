"""Who comes in: the token of a request, before anything of it is read but its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process.security.access import AccessError, Visit, token_of
from process.security.tls import certificate_names
from process.security.token_file import LONGEST
from rest_proxy.http.errors import refused
from rest_proxy.http.route import Entrance

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from process.security.access import Access
    from rest_proxy.http.fast.direct import Client
    from rest_proxy.http.fast.heads import Head
    from rest_proxy.http.route import Route


_TOO_LONG = "a token over the limit"
"""What servers are told instead of it: they know no token that long, and it would not fit into a message's header."""


def _handed_on(headers: Mapping[str, str]) -> str | None:
    token = token_of(headers)
    return token if token is None or len(token.encode("utf-8", "surrogateescape")) <= LONGEST else _TOO_LONG


# A look at an attribute of an enumeration takes four times as long as a look at a name.
_OPEN, _KNOWN = Entrance.OPEN, Entrance.KNOWN


class Door:
    """`access` knows the callers; None where only the Thrift servers do.

    `hands_on`: the calls go to other processes, with their tokens.
    """

    def __init__(self, access: Access | None, *, hands_on: bool) -> None:
        self._access = access
        self._hands_on = hands_on

    @property
    def closed(self) -> bool:
        """Whether nobody comes in who is not known."""
        return self._access is not None

    def visit(self, headers: Mapping[str, str], transport: asyncio.Transport | None) -> Visit:
        """Who sends a request."""
        access = self._access
        caller = access.by_headers(headers) if access is not None else None
        if access is not None and caller is access.nobody and (names := certificate_names(transport)):
            caller = access.by_certificate(names)
        return Visit(caller, "http", transport, _handed_on(headers) if self._hands_on else None)

    def visit_of(self, head: Head, client: Client) -> Visit:
        """The same for a request of the short way: who sends the same head again on a connection is the same."""
        last = client.last_visit
        if last is not None and last[0] is head:
            caller = last[1].caller
            if caller is None or not caller.grant.refusal:  # else it may have become known since
                return last[1]
        visit = self.visit(head.headers, client.transport)
        client.last_visit = (head, visit)
        return visit

    def check(self, route: Route, visit: Visit) -> None:
        """Refuse who may not ask for the route, whatever it says. Raises HttpError.

        What a request may do beyond that is decided for each of its calls.
        """
        entrance, caller = route.entrance, visit.caller
        if caller is None or entrance is _OPEN or (entrance is _KNOWN and caller.grant.at_once):
            return
        try:
            if entrance is _KNOWN:
                caller.require_known()
            else:
                caller.require_right(entrance.value)
        except AccessError as error:
            visit.refused(error.code, error.message, route.label)
            raise refused(error.code, error.message, error.retry_after_ms) from None
