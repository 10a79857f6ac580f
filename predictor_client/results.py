"""The contract's structs to the dataclasses of types.py, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from predictor_client.types import EmbeddingMatrix, SparseVector, VectorEncoding
from predictor_client.vectors import matrix, vector, vector_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_KINDS = {VectorEncoding.FLOAT32: "<f4", VectorEncoding.INT8: "i1", VectorEncoding.BINARY: "u1"}


def embedding_matrix(struct: Any) -> EmbeddingMatrix:
    """Raises ValueError where it has other vectors than it says."""
    encoding = VectorEncoding(struct.encoding or 0)
    if encoding not in _KINDS:
        raise ValueError(f"vectors of encoding {encoding.name}")
    columns = (struct.columns + 7) // 8 if encoding == VectorEncoding.BINARY else struct.columns
    return EmbeddingMatrix(
        rows=struct.rows,
        columns=struct.columns,
        values=matrix(struct.values, _KINDS[encoding], struct.rows, columns),
        tokens=struct.tokens,
        encoding=encoding,
        scales=None if struct.scales is None else vector(struct.scales, "<f4"),
    )


def sparse_vector(struct: Any) -> SparseVector:
    """Its places and numbers as vectors."""
    return SparseVector(vector_of(struct.indices, "<i4"), vector_of(struct.values, "<f8"), struct.tokens)


_READERS: dict[Any, Callable[[Any], Any]] = {EmbeddingMatrix: embedding_matrix, SparseVector: sparse_vector}


def of(kind: type[T]) -> Callable[[Any], T]:
    """What makes a dataclass of ours of the contract's struct."""
    if kind not in _READERS:
        _READERS[kind] = _made(kind)
    return _READERS[kind]


def _made(kind: type[T]) -> Callable[[Any], T]:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]

    def read(struct: Any) -> T:
        given = ((name, reader, getattr(struct, name)) for name, reader in readers.items())
        return kind(**{name: reader(value) if reader else value for name, reader, value in given if value is not None})

    return read


def list_of(kind: type[T]) -> Callable[[Any], list[T]]:
    """The same of a list."""
    read = of(kind)
    return lambda structs: [read(struct) for struct in structs]


def lists_of(kind: type[T]) -> Callable[[Any], list[list[T]]]:
    """The same of a list of lists."""
    read = of(kind)
    return lambda lists: [[read(struct) for struct in structs] for structs in lists]


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    """What a value of this type is read by; None where it is what it is."""
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return _reader(next(argument for argument in arguments if argument is not type(None)))
    if typing.get_origin(hint) is list:
        inner = _reader(arguments[0])
        return None if inner is None else lambda values: [inner(value) for value in values]
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return hint
    return of(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def struct(kind: Any, value: Any) -> Any:
    """The contract's struct of a dataclass of ours, and those in its lists."""
    fields = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, list):
            inner = next(spec[3][1][0] for spec in kind.thrift_spec if spec is not None and spec[2] == field.name)
            item = [struct(inner, each) for each in item]
        fields[field.name] = item
    return kind(**fields)
