"""Perl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.clients.thrift.writers.dynamic import Dynamic
from tests.clients.thrift.writers.writer import ERROR

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Field, Kind, Method


class Perl(Dynamic):
    """Perl with Apache's library, whose one protocol is binary. Strings come as characters, or as UTF-8."""

    source = "client.pl"

    def string(self, value: str) -> str:
        plain = "".join(
            chr(c) if 32 <= c < 127 and c not in (34, 36, 64, 92) else f"\\x{{{c:x}}}" for c in map(ord, value)
        )
        # Perl keeps what fits into Latin-1 as such, and the library sends it so.
        return f'text("{plain}")' if value and 127 < max(map(ord, value)) < 256 else f'"{plain}"'

    def boolean(self, value: bool) -> str:
        return "1" if value else "0"

    def binary(self, value: bytes) -> str:
        return f'"{value.hex()}"'

    def repeated(self, part: str, count: int) -> str:
        return f"text({self.string(part)} x {count})"

    def repeated_item(self, kind: Kind, item: str, count: int) -> str:
        return f"[({item}) x {count}]"

    def absent(self, kind: Kind) -> str:
        return "undef"

    def struct(self, kind: Kind, given: list[tuple[Field, str]]) -> str:
        return f"Predictor::{kind.name}->new({{{', '.join(f'{field.name} => {value}' for field, value in given)}}})"

    def map_(self, kind: Kind, items: list[tuple[str, str]]) -> str:
        return f"{{{', '.join(f'{key} => {value}' for key, value in items)}}}"

    def item(self, kind: Kind, found: str, index: int) -> str:
        return f"{found}->[{index}]"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"entry({found}, {key})"

    def member(self, kind: Kind, found: str, field: Field) -> str:
        return f"{found}->{{{field.name}}}"

    def is_unset(self, kind: Kind, found: str, field: Field) -> str:
        return f"!defined({found}->{{{field.name}}})"

    def has_size(self, kind: Kind, found: str, size: int) -> str:
        return f"keys(%{{{found}}}) == {size}" if kind.kind == "map" else f"@{{{found}}} == {size}"

    def equals(self, kind: Kind, found: str, expected: str) -> str:
        if kind.kind == "double":
            return f"close_to({found}, {expected})"
        if kind.kind == "binary":
            return f"unpack('H*', {found}) eq {expected}"
        if kind.kind == "bool":
            return f"!!{found} == !!{expected}"
        return f"same({found}, {expected})" if kind.kind == "string" else f"{found} == {expected}"

    def check(self, condition: str, where: str) -> None:
        self.say(f"check(scalar({condition}), {self.string(where)});")

    def call(self, about: Method, arguments: list[str]) -> str:
        name = "$" + self.fresh()
        self.say(f"my {name} = $client->{about.name}({', '.join(arguments)});")
        return name

    def call_that_fails(self, about: Method, arguments: list[str], expected: Any, where: str) -> None:
        self.say(f"eval {{ $client->{about.name}({', '.join(arguments)}); 1 }};")
        self.say("my $e = $@;")
        self.say(
            f"return check(0, {self.string(where)} . \": $e\") unless ref $e && $e->isa('Predictor::PredictionError');"
        )
        self.compare(ERROR, "$e", expected, where)

    def keep(self, result: str) -> None:
        self.say(f"$id = {result};")

    def kept(self) -> str:
        return "$id"

    def defined(self, name: str, lines: list[str]) -> str:
        return "\n".join([f"sub {name} {{", "my ($client) = @_;", *lines, "}"])

    def invocation(self, name: str) -> str:
        return f"{name}($client);"
