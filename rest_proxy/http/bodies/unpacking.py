"""Bodies that come compressed, unpacked piece by piece, so that no more is made of them than may be kept."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITY, DEFLATE = "identity", "deflate"
_GZIP = ("gzip", "x-gzip")  # the second is an old name of it: RFC 9110, section 8.4.1.3
ENCODINGS = (IDENTITY, DEFLATE, *_GZIP)

_PIECE = 256 << 10
_MOST_MEMBERS = 256
"""Of one body: each costs a copy of what has come behind it. Block-wise gzip has one for 64 KiB."""

_GZIP_BITS, _ZLIB_BITS = 31, 15
_ZLIB_METHOD = 8  # the lower half of the first byte of RFC 1950's form


class UnpackingError(ValueError):
    """It is not what its header says."""


class Unpacking:
    """A compressed body. gzip may be several members, one behind the other; deflate may come without zlib's head."""

    def __init__(self, encoding: str) -> None:
        """`encoding` is one of ENCODINGS, but not IDENTITY."""
        self._is_gzip = encoding in _GZIP
        self._decoder = zlib.decompressobj(_GZIP_BITS) if self._is_gzip else None
        self._members = 1

    def unpacked(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes hold, in pieces. Raises UnpackingError."""
        if not data:
            return
        if self._decoder is None:
            self._decoder = zlib.decompressobj(_ZLIB_BITS if data[0] & 0xF == _ZLIB_METHOD else -_ZLIB_BITS)
        try:
            while data or not self._decoder.eof:
                if self._decoder.eof:
                    self._decoder = self._next_member()
                piece = self._decoder.decompress(data, _PIECE)
                if piece:
                    yield piece
                data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
                if not data and len(piece) < _PIECE:
                    return
        except zlib.error as error:
            raise UnpackingError(str(error)) from None

    def end(self) -> None:
        """Nothing more comes. Raises UnpackingError where it should."""
        if self._decoder is not None and not self._decoder.eof:
            raise UnpackingError("it ends too early")

    def _next_member(self) -> zlib._Decompress:
        self._members += 1
        if not self._is_gzip:
            raise UnpackingError("there are bytes behind its end")
        if self._members > _MOST_MEMBERS:
            raise UnpackingError(f"it has over {_MOST_MEMBERS} members")
        return zlib.decompressobj(_GZIP_BITS)
