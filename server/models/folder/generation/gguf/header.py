"""Reads what a GGUF file says: its metadata, and each tensor's name, type, shape and place. No number is read.

All lengths in the file are checked against its size: a damaged or hostile file raises ModelError.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from server.errors import ModelError
from server.models.folder.dtypes import Tensor

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

MAGIC = b"GGUF"

_VERSIONS = (2, 3)
_MOST_ENTRIES = 1 << 16  # of metadata, or tensors
_MOST_DEPTH = 4  # of arrays within arrays
_MOST_DIMENSIONS = 4
_ALIGNMENT = "general.alignment"

# Of a value in the metadata, by its number.
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

# Types of tensors by their number in ggml: name, numbers in a block, bytes of it.
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


@dataclass(slots=True)
class GgufFile:
    """A file, as far as it was read."""

    name: str
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def get(self, key: str, kind: type[T], otherwise: T | None = None) -> T:
        """A value of the metadata. Raises ModelError when it is not there, or of another type."""
        value = self.metadata.get(key, otherwise)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            found = "it is not there" if value is None else f"got {type(value).__name__}"
            raise ModelError(f"{self.name}: {key}: expected {kind.__name__}, {found}")
        return value

    def list_of(self, key: str, kind: type[T]) -> list[T]:
        """A list of the metadata; empty where it is not there. Raises ModelError when it is of something else."""
        values: list[T] = self.get(key, list, [])
        if not all(type(value) is kind for value in values):
            raise ModelError(f"{self.name}: {key}: expected a list of {kind.__name__}")
        return values


def read(path: Path) -> GgufFile:
    """Of a file that begins with MAGIC. Raises ModelError, OSError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _Reader(path.name, content).file()
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise ModelError(f"{path.name} is damaged or cut short: {error}") from None


class _Reader:
    """Goes through a file."""

    def __init__(self, name: str, content: mmap.mmap) -> None:
        self._name = name
        self._content = content
        self._size = len(content)
        self._at = len(MAGIC)

    def file(self) -> GgufFile:
        version = self._number("<I")
        if version not in _VERSIONS:
            known = " and ".join(map(str, _VERSIONS))
            raise ModelError(f"{self._name} is GGUF of version {version}; served are {known}")
        tensors, entries = self._count(_MOST_ENTRIES), self._count(_MOST_ENTRIES)
        metadata = {self._string(): self._value(self._number("<I")) for _ in range(entries)}
        described = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get(_ALIGNMENT, 32)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment % 8:
            raise self._damaged(f"{_ALIGNMENT} is {alignment!r}")
        begin = -(-self._at // alignment) * alignment
        placed = {}
        for name, tensor in described:
            end = begin + tensor.offset + tensor.size
            if end > self._size:
                raise self._damaged(f"{name} ends at byte {end}, the file has {self._size}")
            placed[name] = tensor._replace(offset=begin + tensor.offset)
        return GgufFile(self._name, metadata, placed)

    def _tensor(self) -> tuple[str, Tensor]:
        name = self._string()
        dimensions = self._number("<I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self._damaged(f"{name[:100]!r} has {dimensions} dimensions")
        shape = [self._number("<Q") for _ in range(dimensions)][::-1]  # the file has that of a row first
        number, offset = self._number("<I"), self._number("<Q")
        if number not in _TYPES:
            names = ", ".join(dtype for dtype, _, _ in _TYPES.values())
            raise ModelError(
                f"{self._name}: {name} is of ggml's type {number}, which is not served; served are {names}"
            )
        dtype, numbers, size = _TYPES[number]
        if math.prod(shape) > 8 * self._size * numbers or shape[-1] % numbers:
            raise self._damaged(f"{name} is of shape {shape} and type {dtype}")
        return name, Tensor(dtype, shape, offset, math.prod(shape) // numbers * size)

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY or depth == _MOST_DEPTH:
            raise self._damaged(f"a value of type {kind} in its metadata")
        of_items = self._number("<I")
        count = self._count(self._size)
        if of_items in _NUMBERS:
            return self._numbers(_NUMBERS[of_items], count)
        return [self._value(of_items, depth + 1) for _ in range(count)]

    def _string(self) -> str:
        return self._bytes(self._count(self._size)).decode()

    def _count(self, most: int) -> int:
        count: int = self._number("<Q")
        if count > most:
            raise self._damaged(f"a count of {count} at byte {self._at - 8}")
        return count

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._content, self._at)
        self._at += struct.calcsize(form)
        return value

    def _numbers(self, form: str, count: int) -> list[Any]:
        each = struct.Struct(form)
        return [value for (value,) in each.iter_unpack(self._bytes(count * each.size))]

    def _bytes(self, count: int) -> bytes:
        content = self._content[self._at : self._at + count]
        if len(content) != count:
            raise self._damaged(f"{count} bytes from byte {self._at} on")
        self._at += count
        return content

    def _damaged(self, why: str) -> ModelError:
        return ModelError(f"{self._name} is damaged or cut short: {why}")
