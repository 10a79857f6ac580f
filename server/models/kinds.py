"""Which kind of model a file or folder holds, and who loads it. A new kind is a line in one of the two tables.

A location may also be the URL of a model on a TensorFlow server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from server.errors import ModelError
from server.models import encoder, generator, gpt2_folder, saved_model, tflite, torchscript
from server.tensorflow.location import is_saved_model, is_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from server.config import Settings
    from server.models.model import Model

    Loader = Callable[[Any, Settings], Awaitable[Any]]  # a Model, with those of its methods that it serves
    _Kinds = tuple[tuple[Callable[[Path], bool], Loader], ...]

_VERSION_DIGITS = 12

log = structlog.get_logger()


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


def _is_encoder(path: Path) -> bool:
    return (path / encoder.ABOUT).is_file()


_FILES: _Kinds = (
    (_is_torchscript, torchscript.load),
    (_is_tflite, tflite.load),
)
_FOLDERS: _Kinds = (
    (_is_encoder, encoder.load),
    (gpt2_folder.holds, generator.load),
    (is_saved_model, saved_model.load),
)


async def load(location: str | Path, settings: Settings) -> Model:
    """Load whatever kind of model is there. Raises ModelError."""
    with _naming(location):
        loader = await asyncio.to_thread(_loader_of, location)
        model: Model = await loader(location if is_url(str(location)) else Path(location), settings)
        return model


def check(location: str | Path) -> None:
    """Raise ModelError when there is no model at a location, as far as can be seen without loading it."""
    with _naming(location):
        _loader_of(location)


@contextlib.contextmanager
def _naming(location: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{location}: {error.strerror or error}") from None
    except ModelError as error:
        raise ModelError(f"{location}: {error}") from None
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # of a file that no loader expects; a panic in a library of Rust is no Exception
        log.exception("a loader failed", location=str(location))
        raise ModelError(f"{location}: {type(error).__name__}: {error}") from error


def _loader_of(location: str | Path) -> Loader:
    if is_url(str(location)):
        parse_url(str(location))
        return saved_model.load
    path = Path(location)
    if not path.exists():
        raise ModelError("no such file or folder")
    for holds, loader in _FOLDERS if path.is_dir() else _FILES:
        if holds(path):
            return loader
    if (path / "modules.json").is_file():
        raise ModelError("a sentence-transformers folder: export it (python scripts/export_encoder.py FOLDER OUT)")
    if path.is_dir():
        raise ModelError("no kind of model that this server knows is in this folder")
    raise ModelError("no kind of model that this server knows; a TorchScript or TensorFlow Lite file is wanted")


async def version_of(location: str | Path) -> str:
    """First 12 hex digits of the file's SHA-256; of a folder, that of a list of its files with the SHA-256 of each.

    Of a URL the number of the version there. Raises ModelError.
    """
    with _naming(location):
        if is_url(str(location)):
            return await asyncio.to_thread(saved_model.remote_version, str(location))
        return await asyncio.to_thread(_version, Path(location))


def _version(path: Path) -> str:
    if not path.is_dir():
        return _digest(path)[:_VERSION_DIGITS]
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{_digest(path / file)}  {file}\n" for file in files)  # as sha256sum(1) prints them
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()[:_VERSION_DIGITS]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
