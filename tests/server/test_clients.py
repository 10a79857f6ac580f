"""Clients, as far as they share what there is."""

from __future__ import annotations

from server.clients import Client


def test_another_one_has_the_same_owner_and_a_flow_of_its_own() -> None:
    first = Client(("token", "app"))
    first.enter()
    second = first.another()
    assert (second.flow >> 32, second.account) == (first.flow >> 32, first.account)
    assert second.flow != first.flow != first.another().flow
    assert not second.has_items
    for name in Client.__slots__:
        getattr(second, name)


def test_another_one_of_nobody() -> None:
    nobody = Client().another()
    assert (nobody.flow >> 32, nobody.account) == (0, None)
