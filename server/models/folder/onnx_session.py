"""ONNX files by onnxruntime, an optional package: a session that any thread runs, without the GIL while it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from server.errors import ModelError
from server.models.refusals import ONNX_HELP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Run = Callable[[memoryview, memoryview, memoryview], np.ndarray[Any, Any]]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_NEEDED = frozenset(_INPUTS[:2])
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}

# Of several outputs the first of these; a sentence_embedding is made of the others by the folder's modules.
_OUTPUTS = ("logits", "last_hidden_state", "token_embeddings", "sentence_embedding")
_QUIET = 3  # errors alone are printed: the server says what matters


def open_session(path: Path, threads: int) -> Run:
    """What ext._encoder.Program.python takes. Raises ModelError."""
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(ONNX_HELP) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other replicas need the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a class for each code of the library's
        raise ModelError(f"onnxruntime cannot load it: {_first_line(error)}") from None
    inputs = [(each.name, _type_of(each)) for each in session.get_inputs()]
    names = {name for name, _ in inputs}
    if not _NEEDED <= names <= set(_INPUTS):
        expected = "input_ids and attention_mask, and token_type_ids if needed"
        raise ModelError(f"it takes {', '.join(sorted(names))}; expected {expected}")
    output = _output_of([each.name for each in session.get_outputs()])
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level = _QUIET

    def run(*tensors: memoryview) -> np.ndarray[Any, Any]:
        arrays = dict(zip(_INPUTS, map(np.asarray, tensors), strict=True))
        given = {name: arrays[name].astype(dtype, copy=False) for name, dtype in inputs}
        try:
            (found,) = session.run([output], given, run_options)
        except Exception as error:  # see above
            raise ValueError(_first_line(error)) from None
        return np.ascontiguousarray(found, np.float32)

    return run


def _type_of(about: Any) -> Any:
    if about.type not in _TYPES:
        raise ModelError(f"its input {about.name} is of type {about.type}; expected int64 or int32")
    return _TYPES[about.type]


def _output_of(names: Sequence[str]) -> str:
    return next((name for name in _OUTPUTS if name in names), names[0])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
