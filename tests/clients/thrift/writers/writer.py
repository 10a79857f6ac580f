"""What all languages have in common: a function for each step, which calls and compares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.clients.thrift.contract import Field, Kind, Method, fields, method
from tests.clients.thrift.scenario import GIVE_AN_ID, MOST_COMPARED, Repeated, RepeatedItem, Step, Stream

_TEMPLATES = Path(__file__).parents[1] / "templates"
ERROR = Kind("struct", "PredictionError")
STRING = Kind("string")


class Writer(ABC):
    """Writes a program of one language: the template of the name `source` with the steps' functions and their calls.

    A program is started with port, transport and protocol, and ends with 0 when every check holds. Each check that does
    not is a line on its standard error.
    """

    source: str

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def program(self, steps: list[Step]) -> str:
        """The whole source."""
        functions = [self.function(number, step) for number, step in enumerate(steps)]
        calls = [self.invocation(f"step{number}") for number in range(len(steps))]
        template = (_TEMPLATES / f"{self.source}.in").read_text()
        return template.replace("@FUNCTIONS@", "\n".join(functions)).replace("@CALLS@", "\n".join(calls))

    def function(self, number: int, step: Step) -> str:
        """One step."""
        self.lines = []
        about = method(step.name)
        arguments = [self.argument(each, step.arguments.get(each.name)) for each in about.arguments]
        where = f"{number} {step.name}"
        if step.fails:
            self.call_that_fails(about, arguments, step.expected, where)
        else:
            result = self.call(about, arguments)
            if step.name in GIVE_AN_ID:
                self.keep(result)
            elif about.result is not None:
                self.compare(about.result, result, step.expected, where)
        return self.defined(f"step{number}", self.lines)

    def argument(self, field: Field, value: Any) -> str:
        """An expression."""
        if isinstance(value, Stream):
            return self.kept()
        return self.absent(field.kind) if value is None else self.value(field.kind, value)

    def value(self, kind: Kind, value: Any) -> str:
        """An expression; statements may come before it."""
        if kind.kind == "struct":
            known = {field.name: field for field in fields(kind.name)}
            return self.struct(kind, [(known[name], self.value(known[name].kind, v)) for name, v in value.items()])
        if isinstance(value, RepeatedItem):
            return self.repeated_item(kind, self.value(kind.element, value[0]), len(value))
        if kind.kind == "list":
            return self.list_(kind, [self.value(kind.element, item) for item in value])
        if kind.kind == "map":
            return self.map_(kind, [(self.value(kind.key, k), self.value(kind.element, v)) for k, v in value.items()])
        if isinstance(value, Repeated):
            return self.repeated(value[0], len(value))
        return self.scalar(kind, value)

    def compare(self, kind: Kind, found: str, expected: Any, where: str) -> None:
        """Checks that a value is what is expected."""
        if kind.kind == "struct":
            for field in fields(kind.name):
                if field.name in expected:
                    self._compare_field(kind, field, found, expected[field.name], f"{where}.{field.name}")
        elif kind.kind == "list":
            self.check(self.has_size(kind, found, len(expected)), f"{where} size")
            for index, item in enumerate(expected[:MOST_COMPARED]):
                self.compare(kind.element, self.item(kind, found, index), item, f"{where}[{index}]")
        elif kind.kind == "map":
            self.check(self.has_size(kind, found, len(expected)), f"{where} size")
            for index, (key, item) in enumerate(list(expected.items())[:MOST_COMPARED]):
                self.compare(
                    kind.element, self.entry(kind, found, self.scalar(kind.key, key)), item, f"{where}{{{index}}}"
                )
        elif kind.kind == "string" and len(expected) > 10_000:
            part = expected[: next(n for n in range(1, 100) if expected == expected[:n] * (len(expected) // n))]
            self.check(self.equals(kind, found, self.repeated(part, len(expected) // len(part))), where)
        else:
            self.check(self.equals(kind, found, self.scalar(kind, expected)), where)

    def _compare_field(self, kind: Kind, field: Field, found: str, expected: Any, where: str) -> None:
        if expected is None:
            self.check(self.is_unset(kind, found, field), where)
        else:
            self.compare(field.kind, self.member(kind, found, field), expected, where)

    def fresh(self) -> str:
        """A name that no other variable has."""
        self._count += 1
        return f"v{self._count}"

    def say(self, line: str) -> None:
        """A statement of the step."""
        self.lines.append(line)

    def scalar(self, kind: Kind, value: Any) -> str:
        """A literal."""
        if kind.kind == "bool":
            return self.boolean(value)
        if kind.kind == "double":
            return repr(float(value))
        if kind.kind == "string":
            return self.string(value)
        if kind.kind == "binary":
            return self.binary(value)
        return self.enum(kind, value) if kind.kind == "enum" else self.integer(kind, value)

    def boolean(self, value: bool) -> str:
        """true or false."""
        return "true" if value else "false"

    def integer(self, kind: Kind, value: int) -> str:
        """An i32 or i64."""
        return str(value)

    def enum(self, kind: Kind, value: int) -> str:
        """By number."""
        return str(value)

    @abstractmethod
    def string(self, value: str) -> str: ...
    @abstractmethod
    def binary(self, value: bytes) -> str: ...
    @abstractmethod
    def repeated(self, part: str, count: int) -> str: ...
    @abstractmethod
    def repeated_item(self, kind: Kind, item: str, count: int) -> str: ...
    @abstractmethod
    def absent(self, kind: Kind) -> str: ...
    @abstractmethod
    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str: ...
    @abstractmethod
    def list_(self, kind: Kind, items: list[str]) -> str: ...
    @abstractmethod
    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str: ...
    @abstractmethod
    def item(self, kind: Kind, found: str, index: int) -> str: ...
    @abstractmethod
    def entry(self, kind: Kind, found: str, key: str) -> str: ...
    @abstractmethod
    def member(self, kind: Kind, found: str, field: Field) -> str: ...
    @abstractmethod
    def is_unset(self, kind: Kind, found: str, field: Field) -> str: ...
    @abstractmethod
    def has_size(self, kind: Kind, found: str, size: int) -> str: ...
    @abstractmethod
    def equals(self, kind: Kind, found: str, expected: str) -> str: ...
    @abstractmethod
    def check(self, condition: str, where: str) -> None: ...
    @abstractmethod
    def call(self, about: Method, arguments: list[str]) -> str: ...
    @abstractmethod
    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None: ...
    @abstractmethod
    def keep(self, result: str) -> None: ...
    @abstractmethod
    def kept(self) -> str: ...
    @abstractmethod
    def defined(self, name: str, lines: list[str]) -> str: ...
    @abstractmethod
    def invocation(self, name: str) -> str: ...


def octal(value: bytes) -> str:
    """In double quotes, as C and its kin have it: what is not plain ASCII as three octal digits."""
    plain = b" !#%&'()*+,-./0123456789:;<=>ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~"
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in value) + '"'


_ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}


def utf16(value: str) -> str:
    """In double quotes, as Java and JavaScript have it. Java reads \\u0022 as the end of the string, and so on."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[place : place + 2]) for place in range(0, len(units), 2)]
    return '"' + "".join(_ESCAPES.get(c) or (chr(c) if 32 <= c < 127 else f"\\u{c:04x}") for c in codes) + '"'
