"""C with GLib. Nothing is freed: the programs are short."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.writer import ERROR, Writer, octal

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method

_NAMES = {
    "bool": "gboolean",
    "i32": "gint32",
    "i64": "gint64",
    "double": "gdouble",
    "string": "gchar *",
    "binary": "GByteArray *",
}
_PLAIN = ("bool", "i32", "i64", "double", "enum")


class CGlib(Writer):
    """C11 with Apache's library."""

    source = "client.c"

    def type_of(self, kind: Kind) -> str:
        """As a variable's."""
        if kind.kind == "list":
            return "GArray *" if kind.element.kind in _PLAIN else "GPtrArray *"
        if kind.kind == "map":
            return "GHashTable *"
        if kind.kind == "struct":
            return f"{kind.name} *"
        return kind.name if kind.kind == "enum" else _NAMES[kind.kind]

    def new(self, kind: Kind) -> str:
        """An empty one, which a result is read into."""
        if kind.kind == "list":
            plain = kind.element.kind in _PLAIN
            return f"g_array_new(FALSE, FALSE, sizeof({self.type_of(kind.element)}))" if plain else "g_ptr_array_new()"
        if kind.kind == "map":
            name = "str" if kind.key.kind == "string" else "int"
            return f"g_hash_table_new(g_{name}_hash, g_{name}_equal)"
        return f"g_object_new({_type_macro(kind.name)}, NULL)" if kind.kind == "struct" else "NULL"

    def string(self, value: str) -> str:
        return f"(gchar *){octal(value.encode())}"

    def binary(self, value: bytes) -> str:
        return f"{octal(value)}, {len(value)}"

    def boolean(self, value: bool) -> str:
        return "TRUE" if value else "FALSE"

    def repeated(self, part: str, count: int) -> str:
        return f"times({self.string(part)}, {count})"

    def integer(self, kind: Kind, value: int) -> str:
        return f"G_GINT64_CONSTANT({value})" if kind.kind == "i64" else str(value)

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"times_i32({item}, {count})"

    def absent(self, kind: Kind) -> str:
        return self.new(kind)

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        name = self.fresh()
        self.say(f"{kind.name} *{name} = {self.new(kind)};")
        for field, value in given:
            self.say(f"{name}->{field.name} = {value};")
            if not field.required:
                self.say(f"{name}->__isset_{field.name} = TRUE;")
        return name

    def list_(self, kind: Kind, items: list[str]) -> str:
        name = self.fresh()
        self.say(f"{self.type_of(kind)}{name} = {self.new(kind)};")
        for item in items:
            if kind.element.kind in _PLAIN:
                variable = self.fresh()
                self.say(f"{self.type_of(kind.element)} {variable} = {item};")
                self.say(f"g_array_append_val({name}, {variable});")
            else:
                self.say(f"g_ptr_array_add({name}, {item});")
        return name

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        name = self.fresh()
        self.say(f"GHashTable *{name} = {self.new(kind)};")
        for key, value in items:
            self.say(f"g_hash_table_insert({name}, boxed_{kind.key.kind}({key}), boxed_{kind.element.kind}({value}));")
        return name

    def item(self, kind: Kind, found: str, index: int) -> str:
        element = self.type_of(kind.element)
        if kind.element.kind in _PLAIN:
            return f"g_array_index({found}, {element}, {index})"
        return f"(({element})g_ptr_array_index({found}, {index}))"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        value = f"g_hash_table_lookup({found}, {key})"
        return f"(*(gdouble *){value})" if kind.element.kind == "double" else f"((gchar *){value})"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}->{field.name}"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"!{found}->__isset_{field.name}"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"g_hash_table_size({found}) == {size}" if kind.kind == "map" else f"{found}->len == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"close_to({found}, {expected})"
        if kind.kind == "binary":
            return f"has_bytes({found}, {expected})"
        if kind.kind == "string":
            return f"same({found}, {expected})"
        return f"!!{found} == {expected}" if kind.kind == "bool" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check({condition}, {octal(where.encode())});")

    def call(self, about: Method, arguments: list[str]) -> str:
        name = self._call(about, arguments)
        self.say(f'if (error) {{ check(0, "{about.name}"); check(0, error->message); return; }}')
        self.say(f'if (failure) {{ check(0, "{about.name}"); check(0, failure->message); return; }}')
        return name

    def _call(self, about: Method, arguments: list[str]) -> str:
        name = self.fresh()
        self.say("PredictionError *failure = NULL;")
        self.say("GError *error = NULL;")
        if about.result is not None:
            self.say(f"{self.type_of(about.result)} {name} = {self.new(about.result)};")
            arguments = [f"&{name}", *arguments]
        self.say(f"predictor_if_{about.name}({', '.join(['client', *arguments, '&failure', '&error'])});")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self._call(about, arguments)
        self.say(f"if (!failure) {{ check(0, {octal(where.encode())}); return; }}")
        self.compare(ERROR, "failure", expected, where)

    def keep(self, result: str) -> None:
        self.say(f"id = {result};")

    def kept(self) -> str:
        return "id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"static void {name}(PredictorIf *client) {{", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"  {name}(client);"


def _type_macro(name: str) -> str:
    return "TYPE_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
