"""Who reaches a port: this machine alone, or others too."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class OpenError(Exception):
    """The port would be open to whoever reaches it, and nobody has said that it may; the message says what to do."""


def is_open(hosts: Iterable[str], *, insecure: bool) -> bool:
    """Whether others than this machine reach one of these addresses; raises OpenError unless they may."""
    reached = [host for host in hosts if not is_loopback(host)]
    if reached and not insecure:
        raise OpenError(
            f"whoever reaches {reached[0] or 'this machine'} could do everything: say who may call by --token-file FILE"
            " (docs/security.md), or that everybody may by --insecure"
        )
    return bool(reached)


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
