"""What storage raises."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN_CHARACTERS = 500
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class LocationError(ValueError):
    """A location that is malformed or not allowed; the message names it and the settings.

    `setting` is the one that could allow it. `reason` is for whoever knows the location and the setting.
    """

    def __init__(self, message: str, setting: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting
        self.reason = message if reason is None else reason


class StorageError(Exception):
    """Reading or writing failed; the message says where and why."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(name: str) -> str:
    """A file's name as text on one line: control characters, and bytes that are no UTF-8, are escaped."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], name)


@contextlib.contextmanager
def as_storage_errors(doing: str, location: str) -> Iterator[None]:
    """Turn any backend's errors into StorageErrors. Every library has errors of its own, so all of them are meant."""
    try:
        yield
    except (StorageError, LocationError):
        raise
    except Exception as error:
        raise _told(error, f"{location} cannot be {doing}")  # noqa: B904 - it has its cause


def _told(error: Exception, what: str) -> LocationError | StorageError:
    """What is raised of it. No frame in which it is raised has it for a variable: see forget_frames."""
    # fsspec says that a file is not found when it could not even ask; the cause is what people need
    reason = error if error.__cause__ is None else error.__cause__
    if isinstance(reason, LocationError):
        reason.__suppress_context__ = True
        return reason
    told = StorageError(f"{what}: {_plain(reason)}")
    told.__cause__ = error
    return told


def changed(location: str) -> StorageError:
    """Another version has taken a file's place."""
    return StorageError(f"{location} cannot be read: it has changed meanwhile")


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
