"""Files of weights: safetensors, and those of torch.save; archives of programs too, as far as they are looked at.

The first byte says what the bytes behind it are: see the constants.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from server.errors import ModelError
from server.models.folder.package_file import read_metadata
from server.models.folder.weights import SAFETENSORS, TORCH, Weights
from server.models.formats import is_torchscript
from tests.fuzz.model_room import ModelRoom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

HEADER, FILE, PICKLE, ARCHIVE, PACKAGE = range(5)
"""A safetensors file's header, before right numbers; a whole one; the pickle of a file of torch.save, beside right
numbers; a whole one; an AOTInductor package."""

_PACKAGE = "model.pt2"
_ENTRY = "archive/data.pkl"


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 192 << 20

    def __init__(self, files: SharedFiles) -> None:
        self._room = ModelRoom(files, "topics")
        self._folder = self._room.path / "topics"
        content = (self._folder / SAFETENSORS).read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        self._header, self._numbers = content[8:begin], content[begin:]
        self._whole_archive = _saved_by_torch(self._folder / SAFETENSORS)
        (self._folder / SAFETENSORS).unlink()

    def one(self, data: bytes) -> bool:
        """Whether the file can be read."""
        if not data:
            return False
        kind, content = data[0] % 5, data[1:]
        if kind == PACKAGE:
            return self._package(content)
        if kind == HEADER:
            content = len(content).to_bytes(8, "little") + content + self._numbers
        elif kind == PICKLE:
            content = _with_pickle(self._whole_archive, content)
        path = self._folder / (SAFETENSORS if kind in (HEADER, FILE) else TORCH)
        path.write_bytes(content)
        try:
            Weights().add(self._folder)
            self._room.works(self._folder)
        except ModelError:
            return False
        finally:
            path.unlink()
        return True

    def _package(self, content: bytes) -> bool:
        path = self._room.path / _PACKAGE
        path.write_bytes(content)
        try:
            is_torchscript(path)
            return bool(read_metadata(path))
        except (ModelError, OSError):
            return False

    def seeds(self) -> Iterator[bytes]:
        """The same weights in each form."""
        yield bytes([HEADER]) + self._header
        yield bytes([FILE]) + (16).to_bytes(8, "little") + b"{}" + b" " * 14
        yield bytes([FILE]) + _one_tensor()
        with zipfile.ZipFile(io.BytesIO(self._whole_archive)) as archive:
            yield bytes([PICKLE]) + archive.read(_ENTRY)
        yield bytes([ARCHIVE]) + _small_archive()
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("model/data/aotinductor/model/a_metadata.json", '{"AOTI_DEVICE_KEY": "cpu"}')
        yield bytes([PACKAGE]) + package.getvalue()

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._room.close()


def _one_tensor() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
    return len(header).to_bytes(8, "little") + header + bytes(16)


def _saved_by_torch(path: Any) -> bytes:
    import torch
    from safetensors.torch import load_file

    saved = io.BytesIO()
    torch.save(load_file(path), saved)
    return saved.getvalue()


def _small_archive() -> bytes:
    import torch

    saved = io.BytesIO()
    torch.save({"a": torch.zeros(2, 2), "b": torch.zeros(3, dtype=torch.int64)}, saved)
    return saved.getvalue()


def _with_pickle(whole: bytes, pickle: bytes) -> bytes:
    """The archive with another pickle."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, pickle if entry.filename.endswith("/data.pkl") else old.read(entry))
    return changed.getvalue()
