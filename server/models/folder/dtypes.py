"""What a file of weights says of a tensor."""

from __future__ import annotations

from typing import NamedTuple

BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
}
"""Of a number, by the dtype's name in safetensors."""


class Tensor(NamedTuple):
    """Within its file, whose numbers are little endian."""

    dtype: str
    shape: list[int]
    offset: int
    size: int
    """Both in bytes."""
