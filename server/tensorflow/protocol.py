"""TensorFlow Serving's messages and stubs, of the package tensorflow-serving-api, without TensorFlow itself."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from typing import Any, NamedTuple

from server.errors import ModelError

_PACKAGES = ("tensorflow", "tensorflow_serving")
_MISSING = (
    "TensorFlow SavedModels need the packages tensorflow and tensorflow-serving-api, which are not installed:"
    " `make setup-tf`, or `pip install tensorflow tensorflow-serving-api`"
)


class Protocol(NamedTuple):
    """The generated modules, and gRPC."""

    grpc: Any
    types: Any
    """tensorflow.core.framework.types_pb2: the enumeration of data types."""
    tensor: Any
    saved_model: Any
    predict: Any
    metadata: Any
    status: Any
    prediction_service: Any
    model_service: Any


@functools.cache
def protocol() -> Protocol:
    """Import them, at the first call (0.3 s). Raises ModelError when the optional packages are not there."""
    for package in _PACKAGES:
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise ModelError(_MISSING)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # or it tells of every connection that ends
    return _without_tensorflow()


def _without_tensorflow() -> Protocol:
    """The messages that they share with TensorFlow lie in its package, whose import takes seconds and 600 MB.

    So while they are imported the package is there, found but not run; a later import of TensorFlow runs it.
    """
    absent = "tensorflow" not in sys.modules
    if absent:
        spec = importlib.util.find_spec("tensorflow")
        assert spec is not None
        sys.modules["tensorflow"] = importlib.util.module_from_spec(spec)
    try:
        return Protocol(
            grpc=importlib.import_module("grpc"),
            types=importlib.import_module("tensorflow.core.framework.types_pb2"),
            tensor=importlib.import_module("tensorflow.core.framework.tensor_pb2"),
            saved_model=importlib.import_module("tensorflow.core.protobuf.saved_model_pb2"),
            predict=importlib.import_module("tensorflow_serving.apis.predict_pb2"),
            metadata=importlib.import_module("tensorflow_serving.apis.get_model_metadata_pb2"),
            status=importlib.import_module("tensorflow_serving.apis.get_model_status_pb2"),
            prediction_service=importlib.import_module("tensorflow_serving.apis.prediction_service_pb2_grpc"),
            model_service=importlib.import_module("tensorflow_serving.apis.model_service_pb2_grpc"),
        )
    finally:
        if absent:
            del sys.modules["tensorflow"]
