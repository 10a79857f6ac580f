"""Archives that were damaged or written to do harm."""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING

import pytest

from server.errors import ModelError
from server.models.folder import package_file, torch_save
from server.models.formats import is_torchscript
from server.models.zip_archive import open_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("archive/data.pkl", "archive/data/aotinductor/model/a.so", "archive/data/aotinductor/model/a_metadata.json")
OF_FLAGS, OF_METHOD, OF_NAME = 8, 10, 46  # bytes from where an entry of the directory begins
OF_PLACE = 16  # where the directory lies, from where the archive's end begins


def archive(compression: int = zipfile.ZIP_STORED) -> Callable[[Path], bytearray]:
    def written(path: Path) -> bytearray:
        with zipfile.ZipFile(path, "w", compression) as file:
            for name in NAMES:
                file.writestr(name, b"{}" * 100)
        return bytearray(path.read_bytes())

    return written


def in_directory(of: int, value: bytes) -> Callable[[bytearray], None]:
    """Change each entry of the directory."""

    def change(content: bytearray) -> None:
        place = content.find(b"PK\1\2")
        while place >= 0:
            content[place + of : place + of + len(value)] = value
            place = content.find(b"PK\1\2", place + 4)

    return change


def at_the_end(of: int, value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        struct.pack_into("<I", content, content.rfind(b"PK\5\6") + of, value)

    return change


def in_entries(content: bytearray) -> None:
    """Bytes of every entry's content."""
    for name in NAMES:
        place = content.find(name.encode()) + len(name)
        content[place : place + 8] = b"\xff" * 8


def far_away(content: bytearray) -> None:
    """Every entry far behind the file's end, by 64 bits."""
    directory, end = content.find(b"PK\1\2"), content.rfind(b"PK\5\6")
    with_places = bytearray()
    for name in NAMES:
        head = content[directory : directory + OF_NAME]
        directory += OF_NAME + len(name)
        struct.pack_into("<H", head, 30, 12)
        struct.pack_into("<I", head, 42, 0xFFFFFFFF)
        with_places += head + name.encode() + struct.pack("<HHQ", 1, 8, 2**63 + 5)
    begin = content.find(b"PK\1\2")
    content[begin:end] = with_places
    struct.pack_into("<I", content, content.rfind(b"PK\5\6") + 12, len(with_places))


DAMAGES = {
    "before the file": (archive(), at_the_end(OF_PLACE, 1 << 20)),
    "behind the file": (archive(), far_away),
    "encrypted": (archive(), in_directory(OF_FLAGS, b"\1")),
    "of no known way": (archive(), in_directory(OF_METHOD, b"\x63\0")),
    "by bzip2": (archive(zipfile.ZIP_BZIP2), lambda _: None),
    "a name of no letters": (archive(), in_directory(OF_FLAGS, b"\0\x08")),
    "of a later version": (archive(), in_directory(6, b"\xff\0")),
    "deflated, and damaged": (archive(zipfile.ZIP_DEFLATED), in_entries),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", [torch_save.read, package_file.read_metadata])
def test_damaged_archives_are_refused(tmp_path: Path, damage: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "pytorch_model.bin"
    written, change = DAMAGES[damage]
    content = written(path)
    change(content)
    if damage == "a name of no letters":
        content = bytearray(bytes(content).replace(b"archive/", b"\xff\xfe\xfdhive/"))
    path.write_bytes(content)
    assert not is_torchscript(path)
    with pytest.raises(ModelError):
        read(path)


def test_what_is_read_at_a_time_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    archive()(path)
    with open_zip(path) as file:
        assert file.namelist() == list(NAMES)
    with pytest.raises(zipfile.BadZipFile, match="more than 100 bytes"), open_zip(path, 100):
        pass
