"""A model on a server that speaks TensorFlow Serving's API: its state, its signatures, and calls of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from server.errors import ModelError, PredictionError, deadline_exceeded, internal, not_found
from server.tensorflow.protocol import protocol
from server.tensorflow.signature import Signature, served_signature
from server.tensorflow.tensors import MAX_TENSOR_BYTES, to_array, to_proto

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from server.tensorflow.location import Address

_POLL_S = 0.05
_CALL_S = 10.0
_PROTOBUF_BYTES = (1 << 31) - 1  # the longest message that Protocol Buffers can have

_NOISE = ("Graph execution error", "[[", "Detected at node", "(0)", "(1)")
_SHOWN_CHARACTERS = 500

_OPTIONS = (
    ("grpc.max_send_message_length", _PROTOBUF_BYTES),
    ("grpc.max_receive_message_length", MAX_TENSOR_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # or a new channel would wait as the old one did
)


class UnreachableError(Exception):
    """The server is not there, or no longer; another try may find it."""


class RefusedError(Exception):
    """The model cannot answer these instances; maybe others, or fewer."""


class NoSuchModelError(ModelError):
    """The server does not know the model."""


class ModelClient:
    """May be used by several threads."""

    def __init__(self, address: Address, *, through_proxies: bool = True) -> None:
        """Connects at the first call. Raises ModelError where the optional packages are not installed."""
        options = (*_OPTIONS, ("grpc.enable_http_proxy", int(through_proxies)))
        self._address = address
        self._channel = protocol().grpc.insecure_channel(address.target, options=options)
        self._prediction = protocol().prediction_service.PredictionServiceStub(self._channel)
        self._model = protocol().model_service.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Ends the calls that wait, too."""
        self._channel.close()

    def version(self, timeout_s: float = _CALL_S) -> int | None:
        """The version that is AVAILABLE; None: not yet.

        Raises ModelError when none ever will be, and UnreachableError.
        """
        request = protocol().status.GetModelStatusRequest()
        self._specify(request.model_spec)
        try:
            statuses = self._model.GetModelStatus(request, timeout=timeout_s).model_version_status
        except protocol().grpc.RpcError as error:
            if error.code().name == "NOT_FOUND":
                raise NoSuchModelError(f"no such model at {self._address.target}: {error.details()}") from None
            raise UnreachableError(f"{error.code().name}: {error.details()}") from None
        state = protocol().status.ModelVersionStatus
        available = [status.version for status in statuses if status.state == state.AVAILABLE]
        if available:
            return int(max(available))
        failures = [status.status.error_message for status in statuses if status.state == state.END]
        if failures and len(failures) == len(statuses):
            raise ModelError(f"it could not be loaded: {failures[0]}")
        return None

    def wait_available(self, timeout_s: float, check: Callable[[], object], *, patient: bool = False) -> int:
        """The version, when it is AVAILABLE; meanwhile `check` is called, which may raise. Raises ModelError.

        `patient`: the server may not have found the model yet.
        """
        end = time.monotonic() + timeout_s
        problem = "it is still being loaded"
        while (left := end - time.monotonic()) > 0:
            check()
            try:
                version = self.version(min(left, _CALL_S))
            except NoSuchModelError as error:
                if not patient:
                    raise
                problem = str(error)
            except UnreachableError as error:
                problem = str(error)
            else:
                if version is not None:
                    return version
            time.sleep(_POLL_S)
        raise ModelError(f"no answer from {self._address.target} in {timeout_s:g} s: {problem}")

    def signature(self, name: str | None, timeout_s: float = _CALL_S) -> Signature:
        """What the model is called with. Raises ModelError, UnreachableError."""
        request = protocol().metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._specify(request.model_spec)
        try:
            metadata = self._prediction.GetModelMetadata(request, timeout=timeout_s)
        except protocol().grpc.RpcError as error:
            raise UnreachableError(f"{error.code().name}: {error.details()}") from None
        return served_signature(metadata, name)

    def predict(
        self, signature: Signature, inputs: Mapping[str, np.ndarray[Any, Any]], timeout_s: float
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs for the inputs. Raises RefusedError, UnreachableError, PredictionError."""
        request = protocol().predict.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = signature.name
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array, signature.inputs[name].type.number))
        try:
            outputs = self._prediction.Predict(request, timeout=timeout_s).outputs
        except protocol().grpc.RpcError as error:
            raise self._error(error, timeout_s) from None
        try:
            return {name: to_array(outputs[name]) for name in signature.outputs}
        except ValueError as error:
            raise internal(f"the TensorFlow server answered with {error}") from None

    def _specify(self, spec: Any) -> None:
        spec.name = self._address.name
        if self._address.version is not None:
            spec.version.value = self._address.version

    def _error(self, error: Any, timeout_s: float) -> UnreachableError | RefusedError | PredictionError:
        code, details = error.code().name, error.details() or ""
        if code in ("UNAVAILABLE", "CANCELLED"):
            return UnreachableError(f"{code}: {details}")
        if code == "DEADLINE_EXCEEDED":
            return deadline_exceeded(f"the TensorFlow server did not answer in the {timeout_s:.3g} s that were left")
        if code == "NOT_FOUND" and "ervable" in details:
            return not_found(f"the TensorFlow server at {self._address.target}: {details}")
        return RefusedError(f"the model failed: {_in_one_line(details) or code}")


def _in_one_line(details: str) -> str:
    """What TensorFlow says of a failure, without its traceback through the graph and its headline."""
    lines = (line.strip() for line in details.splitlines())
    said = [line for line in lines if line and not line.startswith(_NOISE)]
    return " ".join(said)[:_SHOWN_CHARACTERS]
