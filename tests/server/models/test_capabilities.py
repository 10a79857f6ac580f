"""server/models/capabilities.py: one table from capabilities to the contract's methods."""

from __future__ import annotations

from predictor import Predictor

from server.models.capabilities import METHODS, Capability, methods_of


def test_every_capability_has_methods_of_the_contract() -> None:
    assert list(METHODS) == list(Capability)
    for methods in METHODS.values():
        assert all(hasattr(Predictor.Iface, method) for method in methods)


def test_no_method_needs_two_capabilities() -> None:
    methods = methods_of(tuple(Capability))
    assert len(set(methods)) == len(methods)


def test_methods_come_in_the_order_of_the_capabilities() -> None:
    assert methods_of((Capability.GENERATE, Capability.EMBED)) == [
        *("generate", "generate_begin"),
        *("embed", "embed_batch", "embed_matrix"),
    ]
