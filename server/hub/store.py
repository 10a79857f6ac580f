"""The cache folder of models, laid out as that of Hugging Face's libraries: each uses what others fetched.

models--OWNER--NAME/refs/REVISION           the commit that a branch or tag was
models--OWNER--NAME/blobs/DIGEST            a file's content; DIGEST.partial: its beginning, of ours alone
models--OWNER--NAME/snapshots/COMMIT/NAME   links to blobs
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from typing import TYPE_CHECKING

from huggingface_hub.utils import WeakFileLock

from process.files import write_atomically
from server.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from server.hub.files import HubFile
    from server.hub.location import HubModel
    from server.hub.stop import Stop

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOCK_S = 1.0
_SPARE_BYTES = 64 << 20  # of a disk, left free


class ModelStore:
    """One model's part of the cache."""

    def __init__(self, cache: Path, model: HubModel) -> None:
        self.cache = cache.expanduser().absolute()
        self._model = model
        self._name = "models--" + model.name.replace("/", "--")
        self._folder = self.cache / self._name

    def blob(self, file: HubFile) -> Path:
        """Where a file's content lies."""
        return self._folder / "blobs" / file.digest

    def partial(self, file: HubFile) -> Path:
        """Where the beginning of one lies that is not whole yet."""
        return self._folder / "blobs" / f"{file.digest}.partial"

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit's files."""
        return self._folder / "snapshots" / commit

    def has(self, commit: str, file: HubFile) -> bool:
        """Whether the snapshot has the file, of the right size."""
        return _is_whole(self.snapshot(commit) / file.name, file)

    def content(self, commit: str, file: HubFile) -> Path | None:
        """Where a file's content lies: a blob or, in a cache without links, the snapshot's file; None: nowhere."""
        places = (self.blob(file), self.snapshot(commit) / file.name)
        return next((path for path in places if _is_whole(path, file)), None)

    def link(self, commit: str, file: HubFile) -> None:
        """Put the blob into the snapshot. Raises OSError."""
        path = self.snapshot(commit) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{secrets.token_hex(8)}")
        made.symlink_to(os.path.relpath(self.blob(file), path.parent))
        made.replace(path)

    def known_commit(self) -> str | None:
        """What the revision was when it was last fetched whole; None: it never was."""
        if _COMMIT.fullmatch(self._model.revision):
            return self._model.revision
        with contextlib.suppress(OSError, UnicodeDecodeError):
            commit = (self._folder / "refs" / self._model.revision).read_text("ascii").strip()
            return commit if _COMMIT.fullmatch(commit) else None
        return None

    def remember(self, commit: str) -> None:
        """The revision is this commit, all of whose files that are needed are there. Raises OSError."""
        if self.known_commit() == commit:  # the cache may be one that cannot be written
            return
        path = self._folder / "refs" / self._model.revision
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, commit.encode())

    def missing_bytes(self, commit: str, files: Iterable[HubFile]) -> int:
        """How many bytes of the files are still to be fetched."""
        missing = {file.digest: file for file in files if self.content(commit, file) is None}
        return sum(file.size - _size(self.partial(file), file.size) for file in missing.values())

    def require_space(self, needed: int) -> None:
        """Raise HubError when the disk has no room for so many bytes. OSError too."""
        if not needed:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if needed + _SPARE_BYTES > free:
            raise HubError(
                f"{_gigabytes(needed)} are to be fetched, and the disk of {self.cache} has {_gigabytes(free)} left"
                " (setting hub_cache)"
            )

    @contextlib.contextmanager
    def locked(self, file: HubFile, stop: Stop) -> Iterator[None]:
        """Nobody else fetches the blob meanwhile: the lock is that of Hugging Face's libraries. Raises HubError."""
        path = self.cache / ".locks" / self._name / f"{file.digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.blob(file).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                stop.check()
                try:
                    stack.enter_context(WeakFileLock(path, timeout=_LOCK_S))
                    break
                except TimeoutError:  # another process fetches it
                    continue
            yield


def _is_whole(path: Path, file: HubFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _size(path: Path, most: int) -> int:
    try:
        return min(path.stat().st_size, most)
    except OSError:
        return 0


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3f} GB"
