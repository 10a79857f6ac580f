"""Scans the compact protocol: numbers in as few bytes as they need, seven bits in each, the lowest first."""

from __future__ import annotations

from typing import ClassVar

from thrift.Thrift import TType

from server.transport.scanners.scanner import Scanner

_MAX_I32 = 2**31 - 1


class CompactScanner(Scanner):
    """See Scanner. Types take half a byte."""

    _TYPES = (
        TType.STOP,
        TType.BOOL,
        TType.BOOL,
        TType.BYTE,
        TType.I16,
        TType.I32,
        TType.I64,
        TType.DOUBLE,
        TType.STRING,
        TType.LIST,
        TType.SET,
        TType.MAP,
        TType.STRUCT,
        TType.UUID,
    )
    _WIDTHS: ClassVar = {TType.BOOL: 1, TType.BYTE: 1, TType.DOUBLE: 8, TType.UUID: 16}
    _VARINT_BYTES: ClassVar = {TType.I16: 3, TType.I32: 5, TType.I64: 10}

    def _type(self, code: int) -> int:
        if code >= len(self._TYPES):
            raise self.wrong(f"there is no compact type {code}")
        kind: int = self._TYPES[code]
        return kind

    def _varint(self, at: int, longest: int) -> tuple[int, int] | None:
        """The number that begins at `at`, and where it ends; None when it is not all there."""
        value = 0
        for index in range(longest):
            if not self._have(at + index + 1 - self.position):
                return None
            byte = self.data[at + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value, at + index + 1
        raise self.wrong(f"a number of more than {longest} bytes")

    def _count_at(self, at: int) -> tuple[int, int] | None:
        """A size or count, 32 bits with a sign, and where it ends."""
        found = self._varint(at, 5)
        if found is None:
            return None
        value, end = found
        value &= 0xFFFFFFFF
        return (value if value <= _MAX_I32 else value - 2**32), end

    def _field(self, last: int) -> tuple[int, int] | None:
        if not self._have(1):
            return None
        head = self.data[self.position]
        kind = self._type(head & 0x0F)
        if kind == TType.STOP:
            self.position += 1
            return kind, last
        if head >> 4:
            self.position += 1
            return kind, last + (head >> 4)
        found = self._varint(self.position + 1, 3)
        if found is None:
            return None
        zigzag, self.position = found
        return kind, (zigzag >> 1) ^ -(zigzag & 1)

    def _field_bool(self) -> bool:
        return True  # the value is part of the field's type

    def _size(self) -> int | None:
        found = self._count_at(self.position)
        if found is None:
            return None
        size, self.position = found
        return size

    def _list_header(self) -> tuple[int, int] | None:
        if not self._have(1):
            return None
        head = self.data[self.position]
        found = (head >> 4, self.position + 1) if head >> 4 < 15 else self._count_at(self.position + 1)
        if found is None:
            return None
        kind = self._type(head & 0x0F)
        count, self.position = found
        return kind, count

    def _map_header(self) -> tuple[int, int, int] | None:
        found = self._count_at(self.position)
        if found is None:
            return None
        count, end = found
        if count == 0:
            self.position = end
            return TType.STOP, TType.STOP, 0
        if not self._have(end + 1 - self.position):
            return None
        types = self.data[end]
        self.position = end + 1
        return self._type(types >> 4), self._type(types & 0x0F), count

    def _width(self, kind: int) -> int:
        return self._WIDTHS.get(kind, 0)

    def _scalar(self, kind: int) -> bool:
        if kind in self._VARINT_BYTES:
            found = self._varint(self.position, self._VARINT_BYTES[kind])
            if found is None:
                return False
            self.position = found[1]
            return True
        if kind not in self._WIDTHS:
            raise self.wrong(f"there is no Thrift type {kind}")
        return self._skip(self._WIDTHS[kind])
