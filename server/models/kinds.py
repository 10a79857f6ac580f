"""Which kind of model a file or folder holds, and who loads it. A new kind is a line in one of the two tables."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zipfile
from typing import TYPE_CHECKING, Any

from server.models import generator, gpt2_folder, tflite, torchscript
from server.models.base import ModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from server.config import Settings
    from server.models.base import Model

    Loader = Callable[[Path, Settings], Awaitable[Any]]  # a Model, with those of its methods that it serves
    _Kinds = tuple[tuple[Callable[[Path], bool], Loader], ...]

_VERSION_DIGITS = 12


def _is_torchscript(path: Path) -> bool:
    """TorchScript files are zip archives with a folder `code`; those of torch.save have none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _is_tflite(path: Path) -> bool:
    """The identifier of the schema, in the place where flatbuffers have it."""
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


_FILES: _Kinds = (
    (_is_torchscript, torchscript.load),
    (_is_tflite, tflite.load),
)
_FOLDERS: _Kinds = ((gpt2_folder.holds, generator.load),)


async def load(path: Path, settings: Settings) -> Model:
    """Load whatever kind of model the file or folder holds. Raises ModelError."""
    with _naming(path):
        loader = await asyncio.to_thread(_loader_of, path)
        model: Model = await loader(path, settings)
        return model


def check(path: Path) -> None:
    """Raise ModelError when there is no model in the file or folder, as far as can be seen without loading it."""
    with _naming(path):
        _loader_of(path)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _loader_of(path: Path) -> Loader:
    if not path.exists():
        raise ModelError("no such file or folder")
    for holds, loader in _FOLDERS if path.is_dir() else _FILES:
        if holds(path):
            return loader
    if path.is_dir():
        raise ModelError("no kind of model that this server knows is in this folder")
    raise ModelError("no kind of model that this server knows; a TorchScript or TensorFlow Lite file is wanted")


async def version_of(path: Path) -> str:
    """First 12 hex digits of the file's SHA-256; of a folder, that of a list of its files with the SHA-256 of each."""
    return await asyncio.to_thread(_version, path)


def _version(path: Path) -> str:
    if not path.is_dir():
        return _digest(path)[:_VERSION_DIGITS]
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{_digest(path / file)}  {file}\n" for file in files)  # as sha256sum(1) prints them
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()[:_VERSION_DIGITS]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
