"""What a hub says of a model's files. Whatever it says is checked before a name becomes a path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from server.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_FILES = 10_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_NAME_BYTES, _PART_BYTES, _MOST_PARTS = 1000, 255, 16


class HubFile(NamedTuple):
    """A file of a model at one commit."""

    name: str
    """Path below the model's folder, parts between slashes."""
    size: int
    """In bytes."""
    digest: str
    """In hex: the content's SHA-256 where Git LFS holds it, else the SHA-1 by which git names it."""

    @property
    def is_sha256(self) -> bool:
        """Which of the two it is."""
        return len(self.digest) == 64


class Listing(NamedTuple):
    """All files of a model at one commit."""

    commit: str
    files: dict[str, HubFile]
    """By their names."""


def listing_of(commit: str | None, siblings: Iterable[Any]) -> Listing:
    """From huggingface_hub's ModelInfo: sha and siblings. Raises HubError for what is no list of files."""
    if commit is None or not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub names no commit: {str(commit)[:80]!r}")
    files: dict[str, HubFile] = {}
    for sibling in siblings:
        if len(files) == MOST_FILES:
            raise HubError(f"the hub lists more than {MOST_FILES} files")
        file = _file(sibling)
        files[file.name] = file
    for name in files:
        for end, character in enumerate(name):
            if character == "/" and name[:end] in files:
                raise HubError(f"the hub lists {name[:end]!r} as a file and as a folder")
    return Listing(commit, files)


def _file(sibling: Any) -> HubFile:
    name, size, lfs = sibling.rfilename, sibling.size, sibling.lfs
    _check_name(name)
    digest = sibling.blob_id if lfs is None else lfs.sha256
    size = size if lfs is None else lfs.size
    pattern = _SHA1 if lfs is None else _SHA256
    if not isinstance(size, int) or size < 0 or not isinstance(digest, str) or not pattern.fullmatch(digest):
        raise HubError(f"the hub does not say the size and the checksum of {name!r}")
    return HubFile(name, size, digest)


def _check_name(name: object) -> None:
    """It must lead to a place below the folder, and be one that every disk takes."""
    if not isinstance(name, str):
        raise HubError("the hub lists a file without a name")
    parts = name.split("/")
    wrong = (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _PART_BYTES for part in parts)
        or len(parts) > _MOST_PARTS
        or len(name.encode(errors="replace")) > _NAME_BYTES
        or _CONTROL.search(name) is not None
        or not name.isprintable()
    )
    if wrong:
        raise HubError(f"the hub lists {name[:200]!r}, which can be no file below a model's folder: nothing is fetched")
