"""Where a SavedModel is: a folder on this machine, or a name on a server that speaks TensorFlow Serving's API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from server.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

SCHEME = "tfserving://"
GRAPH = "saved_model.pb"

_URL = re.compile(r"tfserving://(\[[0-9a-fA-F:.]+\]|[^/:@?#\s]+):(\d{1,5})/([^/?#\s]+)(?:/(\d{1,18}))?/?")


class Address(NamedTuple):
    """A model on a server."""

    target: str
    """host:port, or unix:path."""
    name: str
    version: int | None = None
    """None: the newest that the server has."""


def is_url(location: str) -> bool:
    """Whether a location names a server's model."""
    return location.startswith(SCHEME)


def parse_url(location: str) -> Address:
    """The address in tfserving://HOST:PORT/NAME[/VERSION]. Raises ModelError."""
    parts = _URL.fullmatch(location)
    if parts is None or not 1 <= int(parts[2]) <= 65535:
        raise ModelError(f"{location!r} is not of the form {SCHEME}HOST:PORT/NAME or {SCHEME}HOST:PORT/NAME/VERSION")
    return Address(f"{parts[1]}:{parts[2]}", parts[3], int(parts[4]) if parts[4] else None)


def short_name(url: str) -> str:
    """The model's name in a URL, right or wrong."""
    return re.sub(r"(?<=[^/])(/\d*)*$", "", url).rpartition("/")[2]


def versions_of(folder: Path) -> dict[int, Path]:
    """Numbered subfolders that hold a SavedModel, as tensorflow_model_server looks for them. Raises OSError."""
    return {
        int(each.name): each
        for each in folder.iterdir()
        if re.fullmatch(r"\d{1,18}", each.name) and (each / GRAPH).is_file()
    }


def is_saved_model(folder: Path) -> bool:
    """Whether a folder is a SavedModel, or has numbered versions of one. Raises OSError."""
    return (folder / GRAPH).is_file() or bool(versions_of(folder))


def newest_version(folder: Path) -> tuple[Path, int]:
    """The folder that saved_model.pb lies in, and the number of its version: 1 where it has none.

    Raises ModelError when there is none.
    """
    try:
        if (folder / GRAPH).is_file():
            return folder, 1
        versions = versions_of(folder)
    except OSError as error:
        raise ModelError(f"{folder}: {error.strerror or error}") from None
    if not versions:
        raise ModelError(f"{folder} is no SavedModel: there is no {GRAPH} in it, nor in a numbered folder below it")
    newest = max(versions)
    return versions[newest], newest
