"""The contract's types, as predictor.thrift has them, for programs that are written from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import thriftpy2
from predictor import ttypes
from thriftpy2.thrift import TType

from tests.support.service import ROOT

_SIMPLE = {
    TType.BOOL: "bool",
    TType.I32: "i32",
    TType.I64: "i64",
    TType.DOUBLE: "double",
    TType.STRING: "string",
    TType.BINARY: "binary",
}
MODULE: Any = thriftpy2.load(str(ROOT / "predictor.thrift"), "predictor_thrift")


@dataclass(frozen=True)
class Kind:
    """bool, i32, i64, double, string, binary, enum, struct, list or map. `name`: of an enum or a struct."""

    kind: str
    name: str = ""
    element: Any = None
    key: Any = None

    @property
    def is_container(self) -> bool:
        return self.kind in ("list", "map")


class Field(NamedTuple):
    """Of a struct, or an argument of a method."""

    name: str
    kind: Kind
    required: bool


def _kind(ttype: int, details: Any) -> Kind:
    if ttype == TType.STRUCT:
        return Kind("struct", details.__name__)
    if ttype == TType.LIST:
        return Kind("list", element=_element(details))
    if ttype == TType.MAP:
        return Kind("map", key=_element(details[0]), element=_element(details[1]))
    return Kind("enum", details.__name__) if isinstance(details, type) else Kind(_SIMPLE[ttype])


def _element(spec: Any) -> Kind:
    return _kind(*spec) if isinstance(spec, tuple) else _kind(spec, None)


def _fields(cls: Any) -> tuple[Field, ...]:
    return tuple(
        Field(spec[1], _kind(spec[0], spec[2] if len(spec) == 4 else None), spec[-1])
        for number, spec in sorted(cls.thrift_spec.items())
        if number
    )


@functools.cache
def fields(struct: str) -> tuple[Field, ...]:
    """Of a struct, in the order of their ids."""
    return _fields(getattr(MODULE, struct))


class Method(NamedTuple):
    """`result` is None where there is none."""

    name: str
    arguments: tuple[Field, ...]
    result: Kind | None


@functools.cache
def method(name: str) -> Method:
    """Of the service."""
    success = getattr(MODULE.Predictor, f"{name}_result").thrift_spec.get(0)
    result = None if success is None else _kind(success[0], success[2] if len(success) == 4 else None)
    return Method(name, _fields(getattr(MODULE.Predictor, f"{name}_args")), result)


METHODS: tuple[str, ...] = tuple(MODULE.Predictor.thrift_services)


def to_structs(kind: Kind, value: Any, module: Any = ttypes) -> Any:
    """Plain data, structs being dicts, as a library's generated classes."""
    if value is None:
        return None
    if kind.kind == "struct":
        known = {field.name: field.kind for field in fields(kind.name)}
        return getattr(module, kind.name)(**{name: to_structs(known[name], v, module) for name, v in value.items()})
    if kind.kind == "list":
        return [to_structs(kind.element, item, module) for item in value]
    return dict(value) if kind.kind == "map" else value


def to_plain(kind: Kind, value: Any) -> Any:
    """The way back. A field that is not set is None."""
    if value is None:
        return None
    if kind.kind == "struct":
        return {field.name: to_plain(field.kind, getattr(value, field.name)) for field in fields(kind.name)}
    if kind.kind == "list":
        return [to_plain(kind.element, item) for item in value]
    return dict(value) if kind.kind == "map" else value
