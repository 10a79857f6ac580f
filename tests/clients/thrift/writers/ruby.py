"""Ruby."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.dynamic import Dynamic
from tests.clients.thrift.writers.writer import ERROR

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method


class Ruby(Dynamic):
    """Ruby with Apache's library."""

    source = "client.rb"

    def string(self, value: str) -> str:
        plain = "".join(chr(c) if 32 <= c < 127 and c not in (34, 35, 92) else f"\\u{{{c:x}}}" for c in map(ord, value))
        return f'"{plain}"'

    def binary(self, value: bytes) -> str:
        return f'"{value.hex()}"'

    def repeated(self, part: str, count: int) -> str:
        return f"({self.string(part)} * {count})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"([{item}] * {count})"

    def absent(self, kind: Kind) -> str:
        return "nil"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        return f"Predictor::{kind.name}.new({', '.join(f':{field.name} => {value}' for field, value in given)})"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return f"{{{', '.join(f'{key} => {value}' for key, value in items)}}}"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name}"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name}.nil?"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"{found}.size == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"close_to({found}, {expected})"
        return f"{found}.unpack1('H*') == {expected}" if kind.kind == "binary" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {self.string(where)})")

    def call(self, about: Method, arguments: list[str]) -> str:
        name = self.fresh()
        self.say(f"{name} = client.{about.name}({', '.join(arguments)})")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self.say("begin")
        self.call(about, arguments)
        self.check("false", where)
        self.say("rescue Predictor::PredictionError => e")
        self.compare(ERROR, "e", expected, where)
        self.say("end")

    def keep(self, result: str) -> None:
        self.say(f"$id = {result}")

    def kept(self) -> str:
        return "$id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"def {name}(client)", *lines, "end"])

    def invocation(self, name: str) -> str:
        return f"{name}(client)"
