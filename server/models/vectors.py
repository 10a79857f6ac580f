"""Vectors as models give them, as calls ask for them, and as the contract sends them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from predictor.ttypes import EmbeddingMatrix, SparseVector, VectorEncoding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

FLOAT_BYTES, DOUBLE_BYTES = 4, 8
"""Bytes of a number in a matrix, and in a list."""

SPARSE = np.dtype([("index", "<i4"), ("value", "<f4")])
"""Of a number in a sparse vector, as models give it."""

_LARGEST_INT8 = 127
_SHORTEST = 1e-12  # as torch.nn.functional.normalize


class Shape(NamedTuple):
    """What a call wants of a vector beside its numbers; checked."""

    dimensions: int | None = None
    """The first so many numbers; None: all."""
    normalize: bool = False
    """Scale it to length 1."""
    encoding: int = VectorEncoding.FLOAT32

    def row_bytes(self, columns: int) -> int:
        """How many bytes a vector of the model's `columns` numbers takes in a matrix."""
        columns = self.dimensions or columns
        if self.encoding == VectorEncoding.FLOAT32:
            return columns * FLOAT_BYTES
        return columns + FLOAT_BYTES if self.encoding == VectorEncoding.INT8 else -(-columns // 8)

    def row_numbers(self, columns: int) -> int:
        """How many numbers a vector is as a list."""
        columns = self.dimensions or columns
        return -(-columns // 8) if self.encoding == VectorEncoding.BINARY else columns


AS_IT_IS = Shape()


def is_finite(vector: bytes) -> bool:
    """Whether no number of a model's vector, or of its matrix, is NaN or infinite."""
    return bool(np.isfinite(np.frombuffer(vector, "<f4")).all())


def numbers(vector: bytes, shape: Shape = AS_IT_IS) -> list[float]:
    """A vector as list<double>."""
    if shape == AS_IT_IS:
        return array("f", vector).tolist()
    rows = _shaped(np.frombuffer(vector, "<f4")[None], shape)
    if shape.encoding == VectorEncoding.FLOAT32:
        return rows[0].tolist()  # type: ignore[no-any-return]
    encoded = _int8(rows)[0] if shape.encoding == VectorEncoding.INT8 else _bits(rows)
    return encoded[0].astype(np.float64).tolist()  # type: ignore[no-any-return]


def matrix(vectors: Sequence[bytes], tokens: int | None, shape: Shape = AS_IT_IS, columns: int = 0) -> EmbeddingMatrix:
    """Vectors in the form that costs least to send; `tokens` is how many their texts are.

    `columns`: numbers in a vector where `vectors` are matrices, or none.
    """
    if not columns:
        columns = len(vectors[0]) // FLOAT_BYTES if vectors else 0
    values = b"".join(vectors)
    rows = len(values) // FLOAT_BYTES // columns if columns else 0
    if shape == AS_IT_IS or not rows:
        return EmbeddingMatrix(rows, columns if rows else 0, values, tokens)
    shaped = _shaped(np.frombuffer(values, "<f4").reshape(rows, columns), shape)
    columns = shaped.shape[1]
    if shape.encoding == VectorEncoding.INT8:
        encoded, scales = _int8(shaped)
        return EmbeddingMatrix(rows, columns, encoded.tobytes(), tokens, shape.encoding, scales.tobytes())
    if shape.encoding == VectorEncoding.BINARY:
        return EmbeddingMatrix(rows, columns, _bits(shaped).tobytes(), tokens, shape.encoding)
    return EmbeddingMatrix(rows, columns, np.ascontiguousarray(shaped).tobytes(), tokens)


def sparse(pairs: bytes, largest: int | None, token_of: Callable[[int], str] | None) -> SparseVector:
    """A model's sparse vector as the contract has it: the `largest` so many numbers, if not None, in rising order."""
    values = np.frombuffer(pairs, SPARSE)
    if largest is not None and largest < len(values):
        values = values[np.argpartition(-values["value"], largest - 1)[:largest]]
    values = values[np.argsort(values["index"])]
    indices = values["index"].tolist()
    tokens = None if token_of is None else [token_of(index) for index in indices]
    return SparseVector(indices, values["value"].tolist(), tokens)


def sparse_is_finite(pairs: bytes) -> bool:
    """Whether no number of a model's sparse vector is NaN or infinite."""
    return bool(np.isfinite(np.frombuffer(pairs, SPARSE)["value"]).all())


def _shaped(rows: Matrix, shape: Shape) -> Matrix:
    rows = rows[:, : shape.dimensions]
    if not shape.normalize:
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Matrix = rows / np.maximum(lengths, _SHORTEST)
    return unit.astype(np.float32, copy=False)


def _int8(rows: Matrix) -> tuple[np.ndarray[Any, np.dtype[np.int8]], Matrix]:
    """The numbers, and what each row's are to be multiplied with."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / _LARGEST_INT8
    scales[scales == 0] = 1
    return np.rint(rows / scales).astype(np.int8), scales.astype("<f4")


def _bits(rows: Matrix) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.packbits(rows > 0, axis=1)
