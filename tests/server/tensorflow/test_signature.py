"""Which of a model's signatures is called, and what of it can be."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ModelError
from server.tensorflow.protocol import protocol
from server.tensorflow.signature import served_signature

FLOAT, INT64, STRING, RESOURCE = 1, 9, 7, 20


def metadata(**signatures: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    """A server's answer: (inputs, outputs) of each signature, (type, shape) of each of these."""
    definitions = protocol().metadata.SignatureDefMap()
    for name, sides in signatures.items():
        signature = definitions.signature_def[name]
        for ports, side in zip(sides, (signature.inputs, signature.outputs), strict=True):
            for port, (kind, shape) in ports.items():
                side[port].name, side[port].dtype = f"{port}:0", kind
                side[port].tensor_shape.unknown_rank = shape is None
                for size in shape or ():
                    side[port].tensor_shape.dim.add().size = size
    answer = protocol().metadata.GetModelMetadataResponse()
    answer.metadata["signature_def"].Pack(definitions)
    return answer


ONE = ({"x": (FLOAT, [-1])}, {"y": (FLOAT, [-1])})
INIT = ({}, {"__saved_model_init_op": (INT64, None)})


def test_the_default_else_the_only_one() -> None:
    assert served_signature(metadata(other=ONE, serving_default=ONE)).name == "serving_default"
    assert served_signature(metadata(other=ONE, __saved_model_init_op=INIT)).name == "other"
    assert served_signature(metadata(other=ONE, serving_default=ONE), "other").name == "other"
    with pytest.raises(ModelError, match="no signature 'serving_default'; its signatures: 'a', 'b'"):
        served_signature(metadata(b=ONE, a=ONE))
    with pytest.raises(ModelError, match="its signatures: none"):
        served_signature(metadata(__saved_model_init_op=INIT))
    with pytest.raises(ModelError, match="tells nothing"):
        served_signature(protocol().metadata.GetModelMetadataResponse())


def test_how_it_reads() -> None:
    inputs = {"text": (STRING, None), "ids": (INT64, [-1, 3, -1]), "x": (FLOAT, [-1])}
    signature = served_signature(metadata(s=(inputs, {"y": (FLOAT, [-1, 2])})))
    assert str(signature) == "signature 's' (ids: int64[n, 3, ?], text: string[n, ...], x: float[n] -> y: float[n, 2])"
    assert signature.batch is None
    assert served_signature(metadata(s=({"x": (FLOAT, [1, 5])}, {"y": (FLOAT, [1])}))).batch == 1


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({}, {"y": (FLOAT, [-1])}, "signature 's' has no inputs"),
        ({"x": (FLOAT, [-1])}, {}, "signature 's' has no outputs"),
        ({"x": (RESOURCE, [-1])}, {"y": (FLOAT, [-1])}, "'x' is of type resource, which JSON cannot carry"),
        ({"x": (FLOAT, [])}, {"y": (FLOAT, [-1])}, "'x' is a scalar"),
        ({"x": (FLOAT, [8])}, {"y": (FLOAT, [8])}, "its inputs take batches of exactly 8 instances"),
        ({"x": (FLOAT, [1]), "z": (FLOAT, [2])}, {"y": (FLOAT, [8])}, "take batches of exactly 1, 2 instances"),
    ],
)
def test_what_cannot_be_served(inputs: dict[str, Any], outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        served_signature(metadata(s=(inputs, outputs)))


def test_sparse_inputs_cannot_be_served() -> None:
    answer = metadata(s=ONE)
    definitions = protocol().metadata.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(definitions)
    definitions.signature_def["s"].inputs["x"].coo_sparse.values_tensor_name = "values:0"
    answer.metadata["signature_def"].Pack(definitions)
    with pytest.raises(ModelError, match="'x' is not dense, which JSON cannot carry"):
        served_signature(answer)
