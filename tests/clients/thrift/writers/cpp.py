"""C++."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.writer import ERROR, Writer, octal

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method

_NAMES = {
    "bool": "bool",
    "i32": "int32_t",
    "i64": "int64_t",
    "double": "double",
    "string": "std::string",
    "binary": "std::string",
}


class Cpp(Writer):
    """C++17 with Apache's library."""

    source = "client.cc"

    def type_of(self, kind: Kind) -> str:
        """As a variable's."""
        if kind.kind == "list":
            return f"std::vector<{self.type_of(kind.element)}>"
        if kind.kind == "map":
            return f"std::map<{self.type_of(kind.key)}, {self.type_of(kind.element)}>"
        return f"{kind.name}::type" if kind.kind == "enum" else _NAMES.get(kind.kind, kind.name)

    def string(self, value: str) -> str:
        return self.binary(value.encode())

    def binary(self, value: bytes) -> str:
        return f"std::string({octal(value)}, {len(value)})"

    def repeated(self, part: str, count: int) -> str:
        return f"times({self.string(part)}, {count})"

    def integer(self, kind: Kind, value: int) -> str:
        return f"INT64_C({value})" if kind.kind == "i64" else str(value)

    def enum(self, kind: Kind, value: int) -> str:
        return f"static_cast<{kind.name}::type>({value})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"{self.type_of(kind)}({count}, {item})"

    def absent(self, kind: Kind) -> str:
        return f"{self.type_of(kind)}()"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        name = self.fresh()
        self.say(f"{kind.name} {name};")
        for field, value in given:
            self.say(f"{name}.__set_{field.name}({value});")
        return name

    def list_(self, kind: Kind, items: list[str]) -> str:
        return f"{self.type_of(kind)}{{{', '.join(items)}}}"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return f"{self.type_of(kind)}{{{', '.join(f'{{{key}, {value}}}' for key, value in items)}}}"

    def item(self, kind: Kind, found: str, index: int) -> str:
        return f"{found}.at({index})"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"{found}.at({key})"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name}"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"!{found}.__isset.{field.name}"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"{found}.size() == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        return f"close_to({found}, {expected})" if kind.kind == "double" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {octal(where.encode())});")

    def call(self, about: Method, arguments: list[str]) -> str:
        if about.result is None:
            self.say(f"client.{about.name}({', '.join(arguments)});")
            return ""
        name = self.fresh()
        self.say(f"{self.type_of(about.result)} {name};")
        self.say(f"client.{about.name}({', '.join([name, *arguments])});")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self.say("try {")
        self.call(about, arguments)
        self.check("false", where)
        self.say("} catch (const PredictionError& e) {")
        self.compare(ERROR, "e", expected, where)
        self.say("}")

    def keep(self, result: str) -> None:
        self.say(f"id = {result};")

    def kept(self) -> str:
        return "id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"static void {name}(PredictorClient& client) {{", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"  {name}(client);"
