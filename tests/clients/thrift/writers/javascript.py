"""Node.js and TypeScript: the same program, and types that the compiler checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.dynamic import Dynamic
from tests.clients.thrift.writers.writer import ERROR, utf16

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method


class TypeScript(Dynamic):
    """Strict, with the types that the Thrift compiler writes."""

    source = "client.ts"

    def string(self, value: str) -> str:
        return utf16(value)

    def integer(self, kind: Kind, value: int) -> str:
        return f"new Int64({value})" if kind.kind == "i64" else str(value)

    def binary(self, value: bytes) -> str:
        return f"'{value.hex()}'"

    def repeated(self, part: str, count: int) -> str:
        return f"{self.string(part)}.repeat({count})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"Array({count}).fill({item})"

    def absent(self, kind: Kind) -> str:
        return f"new ttypes.{kind.name}()"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        return f"new ttypes.{kind.name}({{{', '.join(f'{field.name}: {value}' for field, value in given)}}})"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return f"{{{', '.join(f'[{key}]: {value}' for key, value in items)}}} as any"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"({found} as any)[{key}]"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name}!"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name} == null"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"Object.keys({found}).length === {size}" if kind.kind == "map" else f"{found}.length === {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"closeTo({found}, {expected})"
        if kind.kind == "binary":
            return f"({found} as any).toString('hex') === {expected}"
        return f"Number({found}) === Number({expected})" if kind.kind == "i64" else f"{found} === {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {utf16(where)});")

    def call(self, about: Method, arguments: list[str]) -> str:
        call = f"await client.{about.name}({', '.join(arguments)});"
        if about.result is None:
            self.say(call)
            return ""
        name = self.fresh()
        self.say(f"const {name} = {call}")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self.say("try {")
        self.call(about, arguments)
        self.check("false", where)
        self.say("} catch (e: any) {")
        self.check("e instanceof ttypes.PredictionError", f"{where} {{type}}")
        self.compare(ERROR, "e", expected, where)
        self.say("}")

    def keep(self, result: str) -> None:
        self.say(f"id = {result};")

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"async function {name}(client: Predictor.Client): Promise<void> {{", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"  await {name}(client);"


class Node(TypeScript):
    """Without the types."""

    source = "client.js"

    def absent(self, kind: Kind) -> str:
        return "null"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return super().map_(kind, items).removesuffix(" as any")

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"{found}[{key}]"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}.{field.name}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        return super().equals(kind, found, expected).replace(" as any", "")

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        super().call_that_fails(about, arguments, expected, where)
        self.lines = ["} catch (e) {" if line == "} catch (e: any) {" else line for line in self.lines]

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"async function {name}(client) {{", *lines, "}"])
