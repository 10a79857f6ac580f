"""Vectors as they come over the wire to NumPy arrays, or to Python's own arrays where NumPy is not installed."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

try:
    import numpy
except ImportError:  # the package works without it
    numpy = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Vector = NDArray[Any]
    """One dimension. Without NumPy an `array.array`."""
    Matrix = NDArray[Any]
    """A vector a row. Without NumPy a list of `array.array`."""
else:
    Vector = Matrix = Any

# Of Python's array module, by NumPy's name. Their sizes are those of every machine that Python runs on today.
_TYPECODES = {"<f4": "f", "<f8": "d", "<i4": "i", "i1": "b", "u1": "B"}


def vector(data: bytes, kind: str) -> Vector:
    """Numbers of a kind, by NumPy's name, from their bytes."""
    if numpy is not None:
        return numpy.frombuffer(data, kind).copy()  # which may be written to
    numbers = array(_TYPECODES[kind], data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def vector_of(numbers: Iterable[float], kind: str) -> Vector:
    """The same from Python's numbers."""
    if numpy is not None:
        return numpy.fromiter(numbers, kind)
    return array(_TYPECODES[kind], numbers)


def matrix(data: bytes, kind: str, rows: int, columns: int) -> Matrix:
    """So many rows of so many numbers, which are all that the bytes are. Raises ValueError where they are not."""
    numbers = vector(data, kind)
    if len(numbers) != rows * columns:
        raise ValueError(f"{len(numbers)} numbers are not {rows} vectors of {columns}")
    if numpy is not None:
        return numbers.reshape(rows, columns)
    return [numbers[row * columns : (row + 1) * columns] for row in range(rows)]
