"""The server's own files, which no job may read or replace: its job database, keys, tokens and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from server.hub.location import is_hub
from server.models.options import without_options
from server.models.registry import parse_location

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from server.config import Settings

_FOR_JOBS = ("batch_roots",)
_MODELS = ("model_root", "hub_cache")


class OwnFile(NamedTuple):
    """A file or a folder, with all that is below it."""

    path: Path
    setting: str
    """Which names it."""
    readable: bool = False
    """A job may read it, as it may a model."""
    neighbours: bool = False
    """What begins with its name and lies beside it belongs to it, whether it is there yet or not: SQLite's journals."""


class OwnFiles:
    """They are known by their inodes, so that no link and no other path to the same folder leads to them.

    Inodes are looked up anew each time: files are replaced while the server runs.
    """

    def __init__(self, files: Iterable[OwnFile] = ()) -> None:
        self._files = list(files)

    def setting_of(self, path: Path, purpose: Literal["read", "write"]) -> str | None:
        """The setting that names what is at a path or above it, if that may not be used so. It has no links in it."""
        files = [file for file in self._files if purpose == "write" or not file.readable]
        if not files:
            return None
        inodes = {_inode(each) for each in (path, *path.parents)} - {None}
        for file in files:
            if _inode(file.path) in inodes or (file.neighbours and self._is_neighbour(path, file.path)):
                return file.setting
        return None

    def setting_of_inode(self, status: os.stat_result) -> str | None:
        """The same for a file that is to be read, whose folder has been looked at."""
        for file in self._files:
            if not file.readable and _inode(file.path) == (status.st_dev, status.st_ino):
                return file.setting
        return None

    @staticmethod
    def _is_neighbour(path: Path, own: Path) -> bool:
        folder = _inode(own.parent)
        return folder is not None and any(
            each.name.startswith(own.name) and _inode(each.parent) == folder for each in (path, *path.parents)
        )


def own_files(settings: Settings) -> list[OwnFile]:
    """Every file and folder that a setting names, but for those that are there for jobs; jobs may read models."""
    own = [
        OwnFile(value, name, readable=name in _MODELS, neighbours=name == "jobs_db")
        for name, value in settings
        if isinstance(value, Path) and name not in _FOR_JOBS
    ]
    models = [without_options(parse_location(text)[1]) for text in settings.model]
    own += [OwnFile(Path(model), "model", readable=True) for model in models]
    if settings.hub_cache is None and (settings.hub_models or any(map(is_hub, models))):
        from server.hub.client import default_cache  # only now: its library takes long to import

        own.append(OwnFile(default_cache(), "hub_cache", readable=True))
    return own


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
