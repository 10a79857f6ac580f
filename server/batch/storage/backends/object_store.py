"""Objects in buckets, through fsspec's libraries."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import structlog

from server.batch.storage.backends.backend import BLOCK_BYTES
from server.batch.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.batch.storage.locations import Location

log = structlog.get_logger()

# A file system of each backend's own: fsspec's shared ones belong to one thread each, and remember listings.
OPTIONS: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}


class ObjectStore:
    """A Backend but for `open`: how it is seen to that all blocks of a file are of one version differs."""

    def __init__(self, file_system: Any) -> None:
        self.file_system = file_system

    def list_below(self, location: Location) -> list[tuple[str, int]]:
        prefix = object_path(location)
        found = self.file_system.find(prefix.rstrip("/"), detail=True)
        return [
            (name.removeprefix(prefix), info["size"])
            for name, info in found.items()
            # not "in/ab" for "in/a/", nor the empty objects that stand for folders
            if name.startswith(prefix) and name != prefix and not name.endswith("/") and info["type"] == "file"
        ]

    def size(self, location: Location) -> int:
        return int(self.file_info(location)["size"])

    def file_info(self, location: Location) -> Any:
        """What fsspec tells of an object. Raises FileNotFoundError, for a folder too."""
        info = self.file_system.info(object_path(location))
        if info["type"] != "file":
            raise FileNotFoundError(location.text)
        return info

    def create(self, location: Location, owner: str, on_upload: Callable[[str], None]) -> Upload:
        return Upload(self.new_file(location))

    def new_file(self, location: Location) -> Any:
        """fsspec's file for an object that is to be written."""
        return self.file_system.open(object_path(location), "wb", block_size=BLOCK_BYTES, autocommit=False)

    def delete_leftovers(self, location: Location, owner: str, upload: str | None) -> None:
        """There are none, where the store forgets unfinished uploads by itself and lists them to nobody."""


class Upload:
    """An upload in parts, completed by commit."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        if self._file.offset is None:  # nothing was sent yet: all of it at once, which appears whole too
            self._file.autocommit = True
            self._file.close()
        else:
            self._file.close()  # sends what is buffered
            self._file.commit()

    def discard(self) -> None:
        try:
            self._file.discard()
        except Exception as error:  # without its last call no upload appears: no more to do
            log.debug("an upload could not be called off", why=str(error))
        self._file.closed = True  # else its finalizer would go on with the upload


def object_path(location: Location) -> str:
    """As fsspec names an object."""
    return f"{location.bucket}/{location.path}"


def library(module: str, scheme: str) -> Any:
    """fsspec's library for a scheme, which is an optional package of ours under the scheme's name.

    Raises StorageError when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        how = f"`make setup-stores`, or `pip install {package}`"
        raise StorageError(f"{scheme}:// needs the package {package}: {how} ({error})") from None
