"""Our own model server, where there is no tensorflow_model_server: the same gRPC API, for one SavedModel.

    python -m server.tensorflow.model_server FOLDER --port 0

It listens on 127.0.0.1, prints its port, and then loads the model; GetModelStatus says when it is AVAILABLE, or END
when it cannot be loaded. It serves Predict, GetModelMetadata and GetModelStatus.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from process.supervision import end_with_stdin
from server.errors import ModelError
from server.tensorflow.location import GRAPH, newest_version
from server.tensorflow.protocol import protocol
from server.tensorflow.tensors import to_array, to_proto

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
MODEL_NAME = "model"
NO_LIMIT = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

_TAG = "serve"
_CALLS_AT_A_TIME = 8
_INVALID_ARGUMENT, _NOT_FOUND, _UNAVAILABLE = "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"


class CallError(Exception):
    """A call gets this gRPC status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Servable:
    """A SavedModel in a TensorFlow session, as tensorflow_model_server runs it: fed and fetched by tensors' names."""

    def __init__(self, folder: Path) -> None:
        """Takes seconds. Raises ModelError, and what TensorFlow raises."""
        self.signatures = _signatures(folder)
        import tensorflow as tf

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        self._error = tf.errors.OpError
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            tf.compat.v1.saved_model.loader.load(self._session, [_TAG], str(folder))
        self._calls = {name: self._callable(signature) for name, signature in self.signatures.items()}

    def predict(self, name: str, inputs: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """A signature's outputs, or those of these `names`, for its inputs, as TensorProtos. Raises CallError."""
        signature = self.signatures.get(name)
        if signature is None:
            raise CallError(_INVALID_ARGUMENT, f"there is no signature {name!r}")
        if inputs.keys() != set(signature.inputs):
            raise CallError(_INVALID_ARGUMENT, f"expected the inputs {sorted(signature.inputs)}, got {sorted(inputs)}")
        unknown = set(names) - set(signature.outputs)
        if unknown:
            raise CallError(_INVALID_ARGUMENT, f"there are no outputs {sorted(unknown)}")
        try:
            values = self._calls[name](*(to_array(inputs[each]) for each in sorted(signature.inputs)))
        except self._error as error:
            raise CallError(protocol_status(error.error_code), str(error.message)) from None
        except (ValueError, TypeError) as error:  # a shape or type that the graph does not take
            raise CallError(_INVALID_ARGUMENT, str(error)) from None
        return {
            each: to_proto(value, signature.outputs[each].dtype)
            for each, value in zip(sorted(signature.outputs), values, strict=True)
            if not names or each in names
        }

    def _callable(self, signature: Any) -> Any:
        """Inputs in the order of their names to outputs in the order of theirs."""
        sides = ([side[name].name for name in sorted(side)] for side in (signature.outputs, signature.inputs))
        fetched, fed = sides
        return self._session.make_callable(fetched, fed)


class ModelServer:
    """What answers the calls: `servable` once it is loaded, or `failure`."""

    def __init__(self, name: str, version: int) -> None:
        self._name = name
        self._version = version
        self.servable: Servable | None = None
        self.failure: str | None = None

    def handlers(self) -> list[Any]:
        """The two services, for a gRPC server."""
        service, grpc = protocol(), protocol().grpc
        unary = {
            "tensorflow.serving.PredictionService": {
                "Predict": (self.predict, service.predict.PredictRequest),
                "GetModelMetadata": (self.metadata, service.metadata.GetModelMetadataRequest),
            },
            "tensorflow.serving.ModelService": {"GetModelStatus": (self.status, service.status.GetModelStatusRequest)},
        }
        return [
            grpc.method_handlers_generic_handler(
                name,
                {
                    method: grpc.unary_unary_rpc_method_handler(
                        _answering(call), request.FromString, lambda answer: answer.SerializeToString()
                    )
                    for method, (call, request) in methods.items()
                },
            )
            for name, methods in unary.items()
        ]

    def predict(self, request: Any) -> Any:
        """Predict."""
        servable = self._servable(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        outputs = servable.predict(name, dict(request.inputs), list(request.output_filter))
        answer = protocol().predict.PredictResponse()
        self._specify(answer.model_spec, name)
        for each, proto in outputs.items():
            answer.outputs[each].CopyFrom(proto)
        return answer

    def metadata(self, request: Any) -> Any:
        """GetModelMetadata; of the kinds of metadata there is only one, signature_def."""
        servable = self._servable(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise CallError(_INVALID_ARGUMENT, "metadata_field must be signature_def")
        answer = protocol().metadata.GetModelMetadataResponse()
        self._specify(answer.model_spec)
        definitions = protocol().metadata.SignatureDefMap()
        for name, signature in servable.signatures.items():
            definitions.signature_def[name].CopyFrom(signature)
        answer.metadata["signature_def"].Pack(definitions)
        return answer

    def status(self, request: Any) -> Any:
        """GetModelStatus."""
        self._check(request.model_spec)
        answer = protocol().status.GetModelStatusResponse()
        states = protocol().status.ModelVersionStatus
        status = answer.model_version_status.add(version=self._version)
        if self.failure is not None:
            status.state = states.END
            status.status.error_code = 3  # INVALID_ARGUMENT
            status.status.error_message = self.failure
        else:
            status.state = states.LOADING if self.servable is None else states.AVAILABLE
        return answer

    def _servable(self, spec: Any) -> Servable:
        self._check(spec)
        if self.servable is None:
            raise CallError(_UNAVAILABLE, self.failure or "the model is loading")
        return self.servable

    def _check(self, spec: Any) -> None:
        if spec.name != self._name or (spec.HasField("version") and spec.version.value != self._version):
            raise CallError(_NOT_FOUND, f"there is only {self._name!r}, version {self._version}")

    def _specify(self, spec: Any, signature_name: str = "") -> None:
        spec.name, spec.version.value, spec.signature_name = self._name, self._version, signature_name


def protocol_status(code: int) -> str:
    """The name of the gRPC status with TensorFlow's number for it, which is the same."""
    names: dict[int, str] = {status.value[0]: status.name for status in protocol().grpc.StatusCode}
    return names.get(code, "UNKNOWN")


def _answering(call: Any) -> Any:
    def answer(request: Any, context: Any) -> Any:
        try:
            return call(request)
        except CallError as refusal:
            context.abort(protocol().grpc.StatusCode[refusal.status], str(refusal))

    return answer


def _signatures(folder: Path) -> dict[str, Any]:
    """The SignatureDefs of the graph that is meant for serving. Raises ModelError."""
    file = folder / GRAPH
    try:
        saved = protocol().saved_model.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}") from None
    except Exception as error:  # DecodeError, whose module depends on the implementation of Protocol Buffers
        raise ModelError(f"{file}: no SavedModel, or damaged: {error}") from None
    graphs = [graph for graph in saved.meta_graphs if _TAG in graph.meta_info_def.tags]
    if not graphs:
        raise ModelError(f"{file}: no SavedModel with a graph for serving (tag {_TAG!r})")
    return dict(graphs[0].signature_def)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM. Gives the exit code."""
    options = _parser().parse_args(arguments)
    if options.end_with_stdin:
        end_with_stdin()
    try:
        folder, version = newest_version(options.folder)
        server = ModelServer(options.name, version)
        listener = protocol().grpc.server(ThreadPoolExecutor(_CALLS_AT_A_TIME), server.handlers(), options=NO_LIMIT)
        port = listener.add_insecure_port(f"{HOST}:{options.port}")
    except (ModelError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    listener.start()
    print(port, flush=True)
    try:
        server.servable = Servable(folder)
    except Exception as error:  # TensorFlow has many
        server.failure = f"{folder}: {error}"
    stop.wait()
    listener.stop(grace=None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.tensorflow.model_server", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="a SavedModel, or a folder with numbered versions: the newest is it")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) lets the system choose")
    parser.add_argument("--name", default=MODEL_NAME, help=f"what clients call the model; default {MODEL_NAME}")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when stdin does: with the process behind it")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
