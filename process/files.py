"""Files that appear whole or not at all, paths without links, and the limit of open files."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()

_HIDDEN = ".predictor-"


class AtomicFile:
    """A file with a hidden temporary name beside its own; `commit` gives it its own name, `discard` deletes it."""

    def __init__(self, path: Path, prefix: str = _HIDDEN, buffering: int = -1) -> None:
        """`prefix`: beginning of the temporary name, hidden and short. Raises OSError."""
        self._path = path
        self._temporary = path.with_name(f"{prefix}{secrets.token_hex(8)}")
        self._file = self._temporary.open("xb", buffering=buffering)

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        self._file.write(data)

    def commit(self) -> None:
        """What stood at the path is replaced; the file survives a loss of power. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        _sync(self._path.parent)

    def discard(self) -> None:
        """Nothing is left of it."""
        with contextlib.suppress(OSError):  # closing writes what is buffered, and the disk may be full
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def resolved(path: Path) -> Path:
    """The path without links and `..`; what does not exist yet may stand at its end.

    Raises OSError where links lead in a circle, and ValueError for a NUL. Path.resolve lets circles pass: from
    Python 3.13 on all, before some, and then it leaves links that come after one as they are.
    """
    found = Path(os.path.realpath(path))
    try:
        found.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    if Path(os.path.realpath(found)) != found:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return found


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or as it was before, also after a loss of power. Raises OSError."""
    file = AtomicFile(path)
    try:
        file.write(content)
        file.commit()
    except BaseException:
        file.discard()
        raise


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` where a block makes a file or a folder, which takes `target`'s place when all went well.

    `target`'s folder is made if it is not there. What stands at `target` is deleted only then, be it a file or a
    folder. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_HIDDEN) as name:
        made = Path(name, "made")
        yield made
        for path in (made, *made.rglob("*")):
            _sync(path)
        if made.is_dir() and target.exists():
            target.rename(Path(name, "replaced"))  # a folder is only ever renamed to a name that nobody has
        made.replace(target)
        _sync(target.parent)


def raise_open_files_limit(needed: int, settings: str) -> None:
    """Let this process have `needed` files and sockets open; shells often allow 1024.

    Where the system allows fewer, a warning names `settings`, which ask for them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "the system allows fewer open files than the settings ask for",
            allowed=allowed,
            needed=needed,
            settings=settings,
        )


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, written to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
