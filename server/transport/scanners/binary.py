"""Scans the binary protocol: numbers in their full width, most significant byte first."""

from __future__ import annotations

from typing import ClassVar

from thrift.Thrift import TType

from server.transport.scanners.scanner import Scanner


class BinaryScanner(Scanner):
    """See Scanner."""

    _WIDTHS: ClassVar = {
        TType.BOOL: 1,
        TType.BYTE: 1,
        TType.I16: 2,
        TType.I32: 4,
        TType.I64: 8,
        TType.DOUBLE: 8,
        TType.UUID: 16,
    }

    def _field(self, last: int) -> tuple[int, int] | None:
        if not self._have(1):
            return None
        kind = self.data[self.position]
        if kind == TType.STOP:
            self.position += 1
            return kind, last
        if not self._have(3):
            return None
        number = int.from_bytes(self.data[self.position + 1 : self.position + 3], "big", signed=True)
        self.position += 3
        return kind, number

    def _field_bool(self) -> bool:
        return self._skip(1)

    def _size(self) -> int | None:
        if not self._have(4):
            return None
        size = int.from_bytes(self.data[self.position : self.position + 4], "big", signed=True)
        self.position += 4
        return size

    def _list_header(self) -> tuple[int, int] | None:
        if not self._have(5):
            return None
        kind = self.data[self.position]
        count = int.from_bytes(self.data[self.position + 1 : self.position + 5], "big", signed=True)
        self.position += 5
        return kind, count

    def _map_header(self) -> tuple[int, int, int] | None:
        if not self._have(6):
            return None
        key, value = self.data[self.position : self.position + 2]
        count = int.from_bytes(self.data[self.position + 2 : self.position + 6], "big", signed=True)
        self.position += 6
        return key, value, count

    def _width(self, kind: int) -> int:
        return self._WIDTHS.get(kind, 0)

    def _scalar(self, kind: int) -> bool:
        width = self._WIDTHS.get(kind)
        if width is None:
            raise self.wrong(f"there is no Thrift type {kind}")
        return self._skip(width)
