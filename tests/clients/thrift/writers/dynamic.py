"""What languages without declared types have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.thrift.writers.writer import Writer

if TYPE_CHECKING:
    from tests.clients.thrift.contract import Kind


class Dynamic(Writer):
    """Lists in brackets, conditions as C has them."""

    def list_(self, kind: Kind, items: list[str]) -> str:
        return f"[{', '.join(items)}]"

    def item(self, kind: Kind, found: str, index: int) -> str:
        return f"{found}[{index}]"

    def entry(self, kind: Kind, found: str, key: str) -> str:
        return f"{found}[{key}]"

    def kept(self) -> str:
        return "id"
