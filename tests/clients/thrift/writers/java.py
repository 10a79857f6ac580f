"""Java."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.writer import ERROR, Writer, utf16

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method

_NAMES = {
    "bool": "Boolean",
    "i32": "Integer",
    "i64": "Long",
    "double": "Double",
    "string": "String",
    "binary": "ByteBuffer",
}


class Java(Writer):
    """Java 17 with Apache's library."""

    source = "Client.java"

    def type_of(self, kind: Kind) -> str:
        """As a variable's."""
        if kind.kind == "list":
            return f"List<{self.type_of(kind.element)}>"
        if kind.kind == "map":
            return f"Map<{self.type_of(kind.key)}, {self.type_of(kind.element)}>"
        return _NAMES.get(kind.kind, kind.name)

    def string(self, value: str) -> str:
        return utf16(value)

    def binary(self, value: bytes) -> str:
        return f'bytes("{value.hex()}")'

    def repeated(self, part: str, count: int) -> str:
        return f"{self.string(part)}.repeat({count})"

    def integer(self, kind: Kind, value: int) -> str:
        return f"{value}L" if kind.kind == "i64" else str(value)

    def enum(self, kind: Kind, value: int) -> str:
        return f"{kind.name}.findByValue({value})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"Collections.nCopies({count}, {item})"

    def absent(self, kind: Kind) -> str:
        return "null"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        name = self.fresh()
        self.say(f"{kind.name} {name} = new {kind.name}();")
        for field, value in given:
            self.say(f"{name}.set{_capital(field.name)}({value});")
        return name

    def list_(self, kind: Kind, items: list[str]) -> str:
        return f"List.<{self.type_of(kind.element)}>of({', '.join(items)})"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        types = f"{self.type_of(kind.key)}, {self.type_of(kind.element)}"
        return f"Map.<{types}>of({', '.join(f'{key}, {value}' for key, value in items)})"

    def item(self, kind: Kind, found: str, index: int) -> str:
        return f"{found}.get({index})"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"{found}.get({key})"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        prefix = "is" if field.kind.kind == "bool" else "get"
        return f"{found}.{prefix}{_capital(field.name)}()"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"!{found}.isSet{_capital(field.name)}()"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"{found}.size() == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"closeTo({found}, {expected})"
        if kind.kind == "binary":
            return f"Arrays.equals({found}, {expected})"
        return f"{found}.equals({expected})" if kind.kind == "string" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {utf16(where)});")

    def call(self, about: Method, arguments: list[str]) -> str:
        call = f"client.{about.name}({', '.join(arguments)});"
        if about.result is None:
            self.say(call)
            return ""
        name = self.fresh()
        self.say(f"{self.type_of(about.result)} {name} = {call}")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self.say("try {")
        self.call(about, arguments)
        self.check("false", where)
        self.say("} catch (PredictionError e) {")
        self.compare(ERROR, "e", expected, where)
        self.say("}")

    def keep(self, result: str) -> None:
        self.say(f"id = {result};")

    def kept(self) -> str:
        return "id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"static void {name}(Predictor.Client client) throws Exception {{", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"    {name}(client);"


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
