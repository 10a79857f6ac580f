"""Which version of a model lies at a location."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DIGITS = 12


def version_of_files(path: Path) -> str:
    """First 12 hex digits of a file's SHA-256; of a folder, that of a list of its files with the SHA-256 of each."""
    if not path.is_dir():
        return _digest(path)[:_DIGITS]
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{_digest(path / file)}  {file}\n" for file in files)  # as sha256sum(1) prints them
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
