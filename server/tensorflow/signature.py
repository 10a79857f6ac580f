"""A SavedModel's signature: names, types and shapes of what goes in and comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

from server.errors import ModelError
from server.tensorflow.protocol import protocol
from server.tensorflow.tensors import TensorType, tensor_types, type_name

DEFAULT = "serving_default"
_INTERNAL = "__saved_model"
_SHOWN = 20


class Port(NamedTuple):
    """An input or output of a signature."""

    name: str
    type: TensorType
    shape: tuple[int | None, ...] | None
    """Without the batch's dimension, None for a size that may be any; None: no shape is known."""

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.type.name}[n{', ' * bool(shape)}{shape}]"


class Signature(NamedTuple):
    """What a model is called with; its tensors' first dimension is the batch's."""

    name: str
    method: str
    """How it was meant to be called, e.g. tensorflow/serving/predict."""
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    batch: int | None
    """The one size that a batch may have; None: any."""

    def __str__(self) -> str:
        sides = (", ".join(map(str, ports.values())) for ports in (self.inputs, self.outputs))
        return f"signature {self.name!r} ({' -> '.join(sides)})"


def served_signature(metadata: Any, chosen: str | None = None) -> Signature:
    """The signature of a GetModelMetadataResponse that is called: `chosen`, else serving_default, else the only one.

    Raises ModelError when there is none, or it cannot be called with JSON instances.
    """
    message = metadata.metadata["signature_def"]
    definitions = protocol().metadata.SignatureDefMap()
    if not message.Unpack(definitions):
        raise ModelError("the TensorFlow server tells nothing about the model's signatures")
    known = {name: d for name, d in definitions.signature_def.items() if not name.startswith(_INTERNAL)}
    name = chosen or (DEFAULT if DEFAULT in known or len(known) != 1 else next(iter(known)))
    if name not in known:
        listed = ", ".join(map(repr, sorted(known)[:_SHOWN])) or "none"
        raise ModelError(f"the model has no signature {name!r}; its signatures: {listed}")
    definition = known[name]
    try:
        inputs, outputs = (_ports(side) for side in (definition.inputs, definition.outputs))
        batch = _batch_size(definition.inputs)
    except ValueError as error:
        raise ModelError(f"signature {name!r} cannot be served: {error}") from None
    if not inputs or not outputs:
        raise ModelError(f"signature {name!r} has no {'outputs' if inputs else 'inputs'}")
    return Signature(name, definition.method_name, inputs, outputs, batch)


def _ports(infos: Any) -> dict[str, Port]:
    """In the order of their names: a map of Protocol Buffers has none."""
    return {name: _port(name, infos[name]) for name in sorted(infos)}


def _port(name: str, info: Any) -> Port:
    kind = tensor_types().get(info.dtype)
    if kind is None or info.WhichOneof("encoding") not in ("name", None):
        what = f"of type {type_name(info.dtype)}" if kind is None else "not dense"
        raise ValueError(f"{name!r} is {what}, which JSON cannot carry")
    if info.tensor_shape.unknown_rank:
        return Port(name, kind, None)
    sizes = [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    if not sizes:
        raise ValueError(f"{name!r} is a scalar: it has no dimension for the instances of a batch")
    return Port(name, kind, tuple(sizes[1:]))


def _batch_size(infos: Any) -> int | None:
    """The size that the first dimension must have; None: any."""
    sizes = {info.tensor_shape.dim[0].size for info in infos.values() if info.tensor_shape.dim}
    fixed = {size for size in sizes if size >= 0}
    if not fixed:
        return None
    if fixed != {1}:
        raise ValueError(f"its inputs take batches of exactly {', '.join(map(str, sorted(fixed)))} instances")
    return 1
