"""A TensorFlow Lite graph that reads one text, run by an interpreter of tflite-runtime or ai-edge-litert.

One string in, and out: strings with their float32 scores, or a float32 vector, which may have a label for each number.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from server.errors import ModelError
from server.models.smart_reply_engine import best

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from server.models.requests import ReplyFilter

_RUNTIMES = ("tflite_runtime", "ai_edge_litert")
_SAMPLE = "Hello"
_PADDING = bytes(8)
"""A number at the end of a damaged file may lack bytes, which the runtime would read nevertheless."""


def open_graphs(content: bytes, labels: Sequence[str] | None, count: int) -> list[TextGraph]:
    """So many of one file, which share its content. Raises ModelError."""
    padded = content + _PADDING
    return [TextGraph(padded, labels) for _ in range(count)]


class TextGraph:
    """One interpreter, warm, and what its outputs are good for: `output` is replies, vector or labels."""

    def __init__(self, content: bytes, labels: Sequence[str] | None) -> None:
        self._labels = labels
        try:
            self._interpreter = _interpreter(content)
            self._input, self._shape = self._text_input()
            self._interpreter.allocate_tensors()
            self._outputs = sorted(self._interpreter.get_output_details(), key=lambda detail: detail["dtype"].__name__)
            self.sample = self._run(_SAMPLE)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(" ".join(str(error).split())) from None  # the runtime's own has several lines
        self.output = self._kind_of_output()

    def answer(self, messages: Sequence[str], reply_filter: ReplyFilter) -> Any:
        """What the method that it serves returns. Raises RuntimeError when the graph fails."""
        if self.output == "replies":
            return best(self._replies(messages), reply_filter.max_replies, reply_filter.threshold)
        (values,) = self._run(messages[0])
        if values.size != self.sample[0].size:
            raise RuntimeError(f"{values.size} numbers came out instead of {self.sample[0].size}")
        if self._labels is None:
            return values.astype("<f4", copy=False).tobytes()
        return dict(zip(self._labels, values.ravel().tolist(), strict=True))

    def _replies(self, messages: Sequence[str]) -> dict[str, float]:
        """Best first, equals by text, as Smart Reply's own executor orders them; empty texts count for nothing."""
        sums: defaultdict[str, float] = defaultdict(float)
        for message in messages:
            texts, scores = self._texts_and_scores(message)
            for text, score in zip(texts, scores, strict=True):
                if text:
                    sums[text.decode()] += score
        return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0].encode())))

    def _texts_and_scores(self, message: str) -> tuple[list[bytes], list[float]]:
        texts, scores = (values.ravel() for values in self._run(message))
        if texts.size != scores.size:
            raise RuntimeError(f"the graph gives {texts.size} replies and {scores.size} scores")
        return texts.tolist(), scores.tolist()

    def _run(self, text: str) -> list[Any]:
        """The outputs, strings before numbers."""
        value = np.array([text.encode()], dtype=object).reshape(self._shape)
        self._interpreter.set_tensor(self._input, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]

    def _text_input(self) -> tuple[int, tuple[int, ...]]:
        """Index and shape of the input tensor."""
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1 or inputs[0]["dtype"] is not np.bytes_ or np.prod(inputs[0]["shape"]) != 1:
            raise ValueError(f"one string is all that a request carries, but the inputs are {_described(inputs)}")
        index, shape = inputs[0]["index"], tuple(inputs[0]["shape"])
        if not shape:  # the runtime's Python takes no empty string for a scalar
            shape = (1,)
            self._interpreter.resize_tensor_input(index, shape)
        return index, shape

    def _kind_of_output(self) -> str:
        dtypes = [detail["dtype"] for detail in self._outputs]
        if dtypes == [np.bytes_, np.float32] and self.sample[0].size == self.sample[1].size:
            return "replies"
        if dtypes != [np.float32] or self.sample[0].size == 0:
            raise ModelError(
                "strings with as many float32 scores can be served, or one float32 vector, but the outputs are "
                f"{_described(self._outputs)}"
            )
        if self._labels is None:
            return "vector"
        if len(self._labels) != self.sample[0].size:
            raise ModelError(f"{len(self._labels)} labels for {self.sample[0].size} scores")
        return "labels"


def _interpreter(content: bytes) -> Any:
    """Raises ModelError where no runtime is installed, ValueError or RuntimeError for a graph that it refuses."""
    runtime = _runtime()
    return runtime.Interpreter(
        model_content=content,
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def _runtime() -> Any:
    """The first of the runtimes that is installed."""
    broken = ""
    for package in _RUNTIMES:
        if importlib.util.find_spec(package) is None:
            continue
        try:
            return importlib.import_module(f"{package}.interpreter")
        except ImportError as error:
            broken += f" ({package} is here, but cannot be imported: {error})"
    raise ModelError(
        "a graph other than Smart Reply's needs a TensorFlow Lite runtime: `make setup-tflite`, or"
        " `pip install tflite-runtime 'numpy<2'` (Python 3.11), or `pip install ai-edge-litert` (later ones too)"
        f"{broken}"
    )


def _described(details: Iterable[dict[str, Any]], most: int = 8) -> str:
    """Names and types of a graph's inputs or outputs."""
    shown = [f"{detail['name']} ({detail['dtype'].__name__})" for detail in islice(details, most + 1)]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
