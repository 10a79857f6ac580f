"""Writes TensorFlow Lite files of the Smart Reply graph (schema: tensorflow/lite/schema/schema.fbs, version 3).

Needs the package `tflite`, which holds the schema; a server does not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
import tflite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # of the schema's Buffer.data

_TYPES = {np.dtype(np.int32): tflite.TensorType.INT32, np.dtype(np.float32): tflite.TensorType.FLOAT32}


@dataclass(frozen=True)
class ReplyTable:
    """Which replies a signature speaks for. Rows are sorted by key."""

    keys: NDArray[np.int32]
    """[rows], signatures."""
    labels: NDArray[np.int32]
    """[rows, j], indices of responses."""
    weights: NDArray[np.float32]
    """[rows, j]; the score of a reply is the mean, over all signatures of a segment, of its weight."""


@dataclass(frozen=True)
class Limits:
    """What the last operators keep."""

    max_replies: int = 30
    threshold: float = 0.05


class GraphWriter:
    """One subgraph of one file, built from its inputs on."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1 << 16)
        self._buffers = [self._buffer(b"")]  # the schema's: buffer 0 is empty
        self._codes: list[int] = []
        self._tensors: list[int] = []
        self._operators: list[int] = []

    def variable(self, name: str, kind: int, shape: Sequence[int] = ()) -> int:
        """A tensor that the graph computes, or its input; its index. `kind`: of the schema's TensorType."""
        return self._tensor(name, kind, shape, 0)

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """An int32 or float32 tensor with content; its index."""
        self._buffers.append(self._buffer(values.tobytes()))
        return self._tensor(name, _TYPES[values.dtype], values.shape, len(self._buffers) - 1)

    def strings(self, name: str, values: Sequence[bytes]) -> int:
        """A tensor of strings; its index."""
        offsets = np.cumsum([4 * (len(values) + 2), *(len(value) for value in values)])
        header = np.array([len(values), *offsets], dtype="<i4")
        self._buffers.append(self._buffer(header.tobytes() + b"".join(values)))
        return self._tensor(name, tflite.TensorType.STRING, (len(values),), len(self._buffers) - 1)

    def custom(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: bytes = b"") -> None:
        """An operator that the runtime must be given."""
        builder = self._builder
        encoded = builder.CreateByteVector(options) if options else 0
        self._operator(self._code(tflite.BuiltinOperator.CUSTOM, name), inputs, outputs, custom_options=encoded)

    def builtin(
        self, code: int, inputs: Sequence[int], outputs: Sequence[int], options: tuple[int, int] = (0, 0)
    ) -> None:
        """An operator of the runtime's own. `options`: kind in the schema's union, and offset of the table."""
        self._operator(self._code(code, None), inputs, outputs, builtin_options=options)

    def skip_gram_options(self, ngram_size: int = 3, max_skip: int = 2, include_all: bool = True) -> tuple[int, int]:
        """N-grams of `ngram_size` words, up to `max_skip` left out between two; with `include_all` shorter ones too."""
        builder = self._builder
        tflite.SkipGramOptionsStart(builder)
        tflite.SkipGramOptionsAddNgramSize(builder, ngram_size)
        tflite.SkipGramOptionsAddMaxSkipSize(builder, max_skip)
        tflite.SkipGramOptionsAddIncludeAllNgrams(builder, include_all)
        return tflite.BuiltinOptions.SkipGramOptions, tflite.SkipGramOptionsEnd(builder)

    def projection_options(self, kind: int = tflite.LSHProjectionType.SPARSE) -> tuple[int, int]:
        """Sparse: one signature for each row of seeds. Dense: one number, 0 or 1, for each seed."""
        builder = self._builder
        tflite.LSHProjectionOptionsStart(builder)
        tflite.LSHProjectionOptionsAddType(builder, kind)
        return tflite.BuiltinOptions.LSHProjectionOptions, tflite.LSHProjectionOptionsEnd(builder)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int], description: str) -> bytes:
        """The file."""
        builder = self._builder
        tensors, operators = self._offsets(self._tensors), self._offsets(self._operators)
        input_vector, output_vector = self._indices(inputs), self._indices(outputs)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddOperators(builder, operators)
        tflite.SubGraphAddInputs(builder, input_vector)
        tflite.SubGraphAddOutputs(builder, output_vector)
        subgraphs = self._offsets([tflite.SubGraphEnd(builder)])
        codes, buffers = self._offsets(self._codes), self._offsets(self._buffers)
        text = builder.CreateString(description)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, _SCHEMA_VERSION)
        tflite.ModelAddDescription(builder, text)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, name: str, kind: int, shape: Iterable[int], buffer: int) -> int:
        builder = self._builder
        encoded_name, encoded_shape = builder.CreateString(name), self._indices(shape)
        tflite.TensorStart(builder)
        tflite.TensorAddName(builder, encoded_name)
        tflite.TensorAddType(builder, kind)
        tflite.TensorAddShape(builder, encoded_shape)
        tflite.TensorAddBuffer(builder, buffer)
        self._tensors.append(tflite.TensorEnd(builder))
        return len(self._tensors) - 1

    def _code(self, builtin: int, custom: str | None) -> int:
        builder = self._builder
        name = builder.CreateString(custom) if custom else 0
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, builtin)
        tflite.OperatorCodeAddBuiltinCode(builder, builtin)
        tflite.OperatorCodeAddVersion(builder, 1)
        if name:
            tflite.OperatorCodeAddCustomCode(builder, name)
        self._codes.append(tflite.OperatorCodeEnd(builder))
        return len(self._codes) - 1

    def _operator(
        self,
        code: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        builtin_options: tuple[int, int] = (0, 0),
        custom_options: int = 0,
    ) -> None:
        builder = self._builder
        encoded_inputs, encoded_outputs = self._indices(inputs), self._indices(outputs)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, code)
        tflite.OperatorAddInputs(builder, encoded_inputs)
        tflite.OperatorAddOutputs(builder, encoded_outputs)
        if builtin_options[1]:
            tflite.OperatorAddBuiltinOptionsType(builder, builtin_options[0])
            tflite.OperatorAddBuiltinOptions(builder, builtin_options[1])
        if custom_options:
            tflite.OperatorAddCustomOptions(builder, custom_options)
        self._operators.append(tflite.OperatorEnd(builder))

    def _buffer(self, content: bytes) -> int:
        builder = self._builder
        data = 0
        if content:
            builder.StartVector(1, len(content), _BUFFER_ALIGNMENT)
            builder.head = builder.Head() - len(content)
            builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
            data = builder.EndVector()
        tflite.BufferStart(builder)
        if data:
            tflite.BufferAddData(builder, data)
        return int(tflite.BufferEnd(builder))

    def _indices(self, values: Iterable[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(list(values), dtype=np.int32)))

    def _offsets(self, values: Sequence[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return int(builder.EndVector())


def reply_graph(seeds: NDArray[np.float32], table: ReplyTable, responses: Sequence[str], limits: Limits) -> bytes:
    """From one segment to its replies and their scores. Response i is what label i stands for."""
    kinds = tflite.TensorType
    writer = GraphWriter()
    message, signatures = _projection(writer, seeds)
    labels, scores = writer.variable("predicted_label", kinds.INT32), writer.variable("score", kinds.FLOAT32)
    constants = [
        writer.constant("model_signature", table.keys),
        writer.constant("model_label", table.labels),
        writer.constant("model_weight", table.weights),
    ]
    options = struct.pack("<if", limits.max_replies, limits.threshold)
    writer.custom("Predict", [signatures, *constants], [labels, scores], options)
    ids = writer.constant("response_id", np.arange(len(responses), dtype=np.int32))
    texts = writer.strings("response_text", [response.encode() for response in responses])
    replies, hits = writer.variable("reply", kinds.STRING), writer.variable("hit", kinds.UINT8)
    writer.builtin(tflite.BuiltinOperator.HASHTABLE_LOOKUP, [labels, ids, texts], [replies, hits])
    return writer.finish([message], [replies, scores], "Smart Reply")


def _projection(writer: GraphWriter, seeds: NDArray[np.float32]) -> tuple[int, int]:
    kinds = tflite.TensorType
    message = writer.variable("message", kinds.STRING)
    normalized, ngrams = writer.variable("normalized", kinds.STRING), writer.variable("ngrams", kinds.STRING)
    features, weights = writer.variable("feature", kinds.INT32), writer.variable("weight", kinds.FLOAT32)
    signatures = writer.variable("signature", kinds.INT32)
    hash_seeds = writer.constant("hash_seed", seeds)
    code = tflite.BuiltinOperator
    writer.custom("Normalize", [message], [normalized])
    writer.builtin(code.SKIP_GRAM, [normalized], [ngrams], writer.skip_gram_options())
    writer.custom("ExtractFeatures", [ngrams], [features, weights])
    writer.builtin(code.LSH_PROJECTION, [hash_seeds, features, weights], [signatures], writer.projection_options())
    return message, signatures
