"""Signatures made by hand."""

from __future__ import annotations

from server.tensorflow.signature import Port, Signature
from server.tensorflow.tensors import tensor_types

TYPES = {kind.name: kind for kind in tensor_types().values()}


def port(name: str, kind: str, *shape: int | None) -> Port:
    """An input or output; `shape` is that of an instance."""
    return Port(name, TYPES[kind], shape)


def signature(*inputs: Port, outputs: tuple[Port, ...] = ()) -> Signature:
    """One that takes batches of any size."""
    return Signature("s", "", {each.name: each for each in inputs}, {each.name: each for each in outputs}, None)
