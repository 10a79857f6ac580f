"""Zip archives from outside: nothing that is in them costs more than its bytes, or is an error of another kind."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_PIECE_BYTES = 16 << 20
_ENCRYPTED_OR_PATCHED = 0x61  # flags of an entry
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Pieces(io.BufferedReader):
    """A file of which at most so many bytes are read at a time: zipfile reads an archive's directory as a whole.

    And only where it has some: zipfile goes wherever a directory says.
    """

    def __init__(self, file: io.FileIO, most: int) -> None:
        super().__init__(file)
        self._most = most
        self._size = os.fstat(file.fileno()).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= self._size:
            raise zipfile.BadZipFile("something would lie outside of the file")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(self._most + 1 if size is None or size < 0 else min(size, self._most + 1))
        if len(content) > self._most:
            raise zipfile.BadZipFile(f"more than {self._most} bytes would be read at a time")
        return content


@contextlib.contextmanager
def open_zip(path: Path, most: int = _MAX_PIECE_BYTES) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory, and whatever is read of it in one piece, has at most so many bytes.

    Nothing in it is encrypted, or compressed otherwise than by deflate: neither torch nor anyone else writes models so.
    Raises zipfile.BadZipFile, also for what is damaged and read inside; OSError.
    """
    with _Pieces(io.FileIO(path), most) as file, _opened(file) as archive:
        try:
            yield archive
        except (zlib.error, EOFError, UnicodeDecodeError) as error:
            raise zipfile.BadZipFile(str(error)) from None


def _opened(file: _Pieces) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (NotImplementedError, OverflowError, ValueError) as error:  # zipfile's, of archives that it does not read
        raise zipfile.BadZipFile(str(error)) from None
    for entry in archive.infolist():
        if entry.flag_bits & _ENCRYPTED_OR_PATCHED or entry.compress_type not in _COMPRESSIONS:
            raise zipfile.BadZipFile(f"{entry.filename} is encrypted, or compressed otherwise than by deflate")
    return archive
