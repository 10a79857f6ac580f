"""How much comes from one address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from process.security import access, addresses
from process.security.addresses import ConnectionCounts, RequestRates, address_of


def peer(name: Any) -> Any:
    return cast("Any", SimpleNamespace(get_extra_info=lambda _: name))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::"),
        (("2001:db8:1:2::9", 5, 0, 0), "2001:db8:1:2::"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::"),
        ("", None),
        (None, None),
    ],
)
def test_which_address_counts(name: Any, counts: str | None) -> None:
    assert address_of(peer(name)) == counts


def test_connections() -> None:
    counts = ConnectionCounts(2)
    assert [counts.enter("a"), counts.enter("a"), counts.enter("a"), counts.enter("b")] == [True, True, False, True]
    counts.leave("a")
    assert [counts.enter("a"), counts.enter("a")] == [True, False]
    assert all(counts.enter(None) for _ in range(5))
    assert all(ConnectionCounts(0).enter("a") for _ in range(5))


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(access, "_now", lambda: now[0])
    monkeypatch.setattr(addresses, "_MOST_RATES", 2)
    rates = RequestRates(1.0)
    assert [rates.take("a"), rates.take("a"), rates.take("b"), rates.take(None)] == [0, 1, 0, 0]
    now[0] = 1.0
    assert rates.take("a") == 0
    rates.take("c")  # b is forgotten, which was longest silent
    assert [rates.take("a"), rates.take("b")] == [1, 0]
