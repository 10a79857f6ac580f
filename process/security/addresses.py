"""How much comes from one address: connections at a time, and requests a second."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from process.security.access import Bucket

if TYPE_CHECKING:
    import asyncio

_MOST_RATES = 10_000
"""Addresses whose rates are remembered; beyond them the one that was longest silent is forgotten."""

_NETWORK_BITS = 64


def address_of(transport: asyncio.BaseTransport | None) -> str | None:
    """The address that counts of who is at the other end; None where there is none."""
    return counted(transport.get_extra_info("peername") if transport is not None else None)


def counted(name: Any) -> str | None:
    """What counts of a socket's address.

    Of IPv6 it is the network of 64 bits, all of which whoever has one address has.
    """
    if not isinstance(name, tuple):
        return None
    host = str(name[0])
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> _NETWORK_BITS << _NETWORK_BITS))


class ConnectionCounts:
    """Connections that are open, by address: at most `most`; 0: as many as there are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    def enter(self, address: str | None) -> bool:
        """Count one more; False, and it is not counted, where there are as many as may be."""
        if not self._most or address is None:
            return True
        count = self._open.get(address, 0)
        if count >= self._most:
            return False
        self._open[address] = count + 1
        return True

    def leave(self, address: str | None) -> None:
        """One that was counted is gone."""
        if not self._most or address is None:
            return
        count = self._open.get(address, 0) - 1
        if count > 0:
            self._open[address] = count
        else:
            self._open.pop(address, None)


class RequestRates:
    """Requests a second, by address."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str | None) -> float:
        """Count a request; the seconds until it may be sent again, instead of 0, where there were too many."""
        if address is None:
            return 0.0
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= _MOST_RATES:
                self._buckets.popitem(last=False)
            bucket = self._buckets[address] = Bucket(self.rate)
        else:
            self._buckets.move_to_end(address)
        return bucket.take(1.0)
