"""Our own model server on the wire, called with tensorflow-serving-api's own stubs."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from server.errors import ModelError
from server.tensorflow.client import ModelClient
from server.tensorflow.location import parse_url
from server.tensorflow.protocol import protocol
from server.tensorflow.tensors import to_array, to_proto
from tests.server.tensorflow.model_server import ModelServer
from tests.support.service import HOST, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOAT, STRING = 1, 7
CALL_S = 30


@pytest.fixture
def channel(saved_model_server: str) -> Iterator[Any]:
    """To the server with many signatures, which has loaded them."""
    address = parse_url(saved_model_server)
    with contextlib.closing(ModelClient(address)) as client:
        assert client.wait_available(120, lambda: None) == 1
    with contextlib.closing(protocol().grpc.insecure_channel(address.target)) as channel:
        yield channel


def predict_request(signature: str, inputs: dict[str, Any], name: str = "zoo", version: int | None = None) -> Any:
    request = protocol().predict.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    for each, proto in inputs.items():
        request.inputs[each].CopyFrom(proto)
    return request


def numbers(*values: Any) -> Any:
    return to_proto(np.array(values, dtype=np.float32), FLOAT)


def texts(*values: bytes) -> Any:
    return to_proto(np.array(values, dtype=object), STRING)


def test_predict_answers_with_the_outputs_and_says_who_answered(channel: Any) -> None:
    predict = protocol().prediction_service.PredictionServiceStub(channel).Predict
    request = predict_request("classes", {"text": texts(b"ab")}, version=1)
    answer = predict(request, timeout=CALL_S)
    assert {name: to_array(proto).tolist() for name, proto in answer.outputs.items()} == {
        "classes": [[b"low", b"mid", b"high"]],
        "scores": [[-2, 0, 2]],
    }
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("zoo", 1, "classes")
    request.output_filter.append("scores")
    assert list(predict(request, timeout=CALL_S).outputs) == ["scores"]


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (predict_request("sums", {"x": numbers([1.0])}, name="other"), "NOT_FOUND", "only 'zoo', version 1"),
        (predict_request("sums", {"x": numbers([1.0])}, version=2), "NOT_FOUND", "only 'zoo', version 1"),
        (predict_request("none", {}), "INVALID_ARGUMENT", "there is no signature 'none'"),
        (predict_request("", {}), "INVALID_ARGUMENT", "there is no signature 'serving_default'"),
        (predict_request("sums", {}), "INVALID_ARGUMENT", r"expected the inputs \['x'\], got \[\]"),
        (predict_request("sums", {"x": texts(b"a")}), "INVALID_ARGUMENT", "could not convert string to float"),
        (predict_request("sums", {"x": numbers(1.0)}), "INVALID_ARGUMENT", "Cannot feed|shape|dimension"),
        (predict_request("fragile", {"text": texts(b"a")}), "INVALID_ARGUMENT", "could not correctly convert"),
    ],
)
def test_calls_that_cannot_be_answered(channel: Any, request_: Any, status: str, message: str) -> None:
    stub = protocol().prediction_service.PredictionServiceStub(channel)
    with pytest.raises(protocol().grpc.RpcError, match=message) as caught:
        stub.Predict(request_, timeout=CALL_S)
    assert caught.value.code().name == status


def test_metadata_has_only_signatures(channel: Any) -> None:
    stub = protocol().prediction_service.PredictionServiceStub(channel)
    request = protocol().metadata.GetModelMetadataRequest(metadata_field=["everything"])
    request.model_spec.name = "zoo"
    with pytest.raises(protocol().grpc.RpcError, match="metadata_field must be signature_def"):
        stub.GetModelMetadata(request, timeout=CALL_S)


def test_a_model_that_cannot_be_loaded_is_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(protocol().saved_model.SavedModel().SerializeToString())
    with (
        ModelServer(tmp_path) as running,
        contextlib.closing(ModelClient(parse_url(running.url))) as client,
        pytest.raises(ModelError, match=r"it could not be loaded: .*no SavedModel with a graph for serving"),
    ):
        client.wait_available(60, lambda: None)


@pytest.mark.parametrize("what", ["no model", "port taken"])
def test_what_it_cannot_start_with(saved_models: Path, tmp_path: Path, what: str) -> None:
    with socket.create_server((HOST, 0)) as holder:
        folder = tmp_path if what == "no model" else saved_models / "zoo"
        command = [sys.executable, "-m", "server.tensorflow.model_server", folder, f"--port={holder.getsockname()[1]}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert ("is no SavedModel" if what == "no model" else "Failed to bind") in done.stderr
