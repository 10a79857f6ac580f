"""GGUF files: what they say of themselves, before right numbers (first byte 0), or whole ones (1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import ModelError
from server.models.folder.generation.gguf import header
from tests.fuzz.model_room import ModelRoom
from tests.support.folders import gguf_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

HEADER, FILE = 0, 1
_ALIGNMENT = 32


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 192 << 20

    def __init__(self, files: SharedFiles) -> None:
        self._room = ModelRoom(files, "generator")
        self._path = self._room.path / "model.gguf"
        gguf_files.write(self._room.path / "generator", self._path)
        content = self._path.read_bytes()
        begin = min(tensor.offset for tensor in header.read(self._path).tensors.values())
        self._header, self._numbers = content[:begin], content[begin:]

    def one(self, data: bytes) -> bool:
        """Whether the model answers; of a whole one, whether it can be read."""
        if not data:
            return False
        content = data[1:]
        if data[0] % 2 == HEADER:
            content += bytes(-len(content) % _ALIGNMENT) + self._numbers
        self._path.write_bytes(content)
        if data[0] % 2 == HEADER:
            return self._room.works(self._path)
        if not content.startswith(header.MAGIC):  # by which the file is known to be one
            return False
        try:
            header.read(self._path)
        except (ModelError, OSError):
            return False
        self._room.works(self._path)
        return True

    def seeds(self) -> Iterator[bytes]:
        """A Llama's, and a small one."""
        yield bytes([HEADER]) + self._header
        key = b"general.alignment"
        small = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
        yield bytes([FILE]) + small + len(key).to_bytes(8, "little") + key + (4).to_bytes(4, "little") + b" \0\0\0"

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._room.close()
