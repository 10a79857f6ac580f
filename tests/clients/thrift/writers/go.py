"""Go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.writer import ERROR, Writer

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method

_NAMES = {"bool": "bool", "i32": "int32", "i64": "int64", "double": "float64", "string": "string", "binary": "[]byte"}
# golint's, which the compiler writes in capitals.
_INITIALISMS = {
    *("api", "ascii", "cpu", "css", "dns", "eof", "guid", "html", "http", "https", "id", "ip", "json", "lhs", "qps"),
    *("ram", "rhs", "rpc", "sla", "smtp", "sql", "ssh", "tcp", "tls", "ttl", "udp", "ui", "uid", "uuid", "uri", "url"),
    *("utf8", "vm", "xml", "xsrf", "xss"),
}


class Go(Writer):
    """Go with Apache's library."""

    source = "client.go"

    def type_of(self, kind: Kind) -> str:
        """As a variable's."""
        if kind.kind == "list":
            return f"[]{self.type_of(kind.element)}"
        if kind.kind == "map":
            return f"map[{self.type_of(kind.key)}]{self.type_of(kind.element)}"
        if kind.kind == "struct":
            return f"*predictor.{kind.name}"
        return f"predictor.{kind.name}" if kind.kind == "enum" else _NAMES[kind.kind]

    def string(self, value: str) -> str:
        escaped = "".join(chr(c) if 32 <= c < 127 and c not in (34, 92) else f"\\U{c:08x}" for c in map(ord, value))
        return f'"{escaped}"'

    def binary(self, value: bytes) -> str:
        return f'"{value.hex()}"'

    def repeated(self, part: str, count: int) -> str:
        return f"strings.Repeat({self.string(part)}, {count})"

    def integer(self, kind: Kind, value: int) -> str:
        return f"{_NAMES[kind.kind]}({value})"

    def enum(self, kind: Kind, value: int) -> str:
        return f"predictor.{kind.name}({value})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"times({item}, {count})"

    def absent(self, kind: Kind) -> str:
        return "nil"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        name = self.fresh()
        self.say(f"{name} := predictor.New{kind.name}()")
        for field, value in given:
            if field.required or field.kind.kind in ("list", "map", "struct", "binary"):
                self.say(f"{name}.{camel(field.name)} = {value}")
            else:
                pointed = self.fresh()
                self.say(f"var {pointed} {self.type_of(field.kind)} = {value}")
                self.say(f"{name}.{camel(field.name)} = &{pointed}")
        return name

    def list_(self, kind: Kind, items: list[str]) -> str:
        return f"{self.type_of(kind)}{{{', '.join(items)}}}"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return f"{self.type_of(kind)}{{{', '.join(f'{key}: {value}' for key, value in items)}}}"

    def item(self, kind: Kind, found: str, index: int) -> str:
        return f"{found}[{index}]"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"{found}[{key}]"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.Get{camel(field.name)}()"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"!{found}.IsSet{camel(field.name)}()"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"len({found}) == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"closeTo({found}, {expected})"
        return f"same({found}, {expected})" if kind.kind == "binary" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {self.string(where)})")

    def call(self, about: Method, arguments: list[str]) -> str:
        call = f"client.{camel(about.name)}({', '.join(['ctx', *arguments])})"
        name = self.fresh()
        self.say(f"err := {call}" if about.result is None else f"{name}, err := {call}")
        self.say(f"if failed(err, {self.string(about.name)}) {{ return }}")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        call = f"client.{camel(about.name)}({', '.join(['ctx', *arguments])})"
        self.say(f"err := {call}" if about.result is None else f"_, err := {call}")
        self.say(f"e := refused(err, {self.string(where)})")
        self.say("if e == nil { return }")
        self.compare(ERROR, "e", expected, where)

    def keep(self, result: str) -> None:
        self.say(f"id = {result}")

    def kept(self) -> str:
        return "id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"func {name}(client *predictor.PredictorClient) {{", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"\t{name}(client)"


def camel(name: str) -> str:
    """As the compiler writes names."""
    return "".join(part.upper() if part in _INITIALISMS else part[:1].upper() + part[1:] for part in name.split("_"))
