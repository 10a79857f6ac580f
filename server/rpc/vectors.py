"""Vectors as models give them and as the contract sends them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from predictor.ttypes import EmbeddingMatrix

from server.errors import too_large

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT_BYTES, DOUBLE_BYTES = 4, 8
"""Bytes of a number in a matrix, and in a list."""


def numbers(vector: bytes) -> list[float]:
    """A vector as list<double>."""
    return array("f", vector).tolist()


def matrix(vectors: Sequence[bytes], tokens: int | None) -> EmbeddingMatrix:
    """Vectors in the form that costs least to send; `tokens` is how many their texts are."""
    columns = len(vectors[0]) // FLOAT_BYTES if vectors else 0
    return EmbeddingMatrix(len(vectors), columns, b"".join(vectors), tokens)


def require_fit(vectors: Sequence[bytes], number_bytes: int, max_bytes: int, hint: str = "") -> None:
    """Raise TOO_LARGE for an answer that would keep the event loop, and be too long for its reader."""
    size = sum(map(len, vectors)) // FLOAT_BYTES * number_bytes
    if size > max_bytes:
        what = f"{len(vectors)} vectors take {size} bytes, over the limit of {max_bytes}; ask for fewer at a time{hint}"
        raise too_large(what, field="texts", setting="message_bytes")
