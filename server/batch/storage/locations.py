"""Locations that people give, and what they may look like."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from server.batch.storage.errors import LocationError
from server.batch.storage.schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.batch.storage.schemes import Scheme

_CHARACTERS = 4096
_SCHEME = re.compile(f"({'|'.join(map(re.escape, SCHEMES))})://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Location:
    """A location in its parts: local ones have no scheme and bucket; `bucket` of http(s) is the host with its port."""

    text: str
    scheme: str
    bucket: str
    path: str

    @property
    def is_folder(self) -> bool:
        """Whether it means everything below it."""
        return self.path.endswith("/") or not self.path

    @property
    def name(self) -> str:
        """The last part of its path, without an http location's query."""
        return self.path.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read. `relative` is its path below the location that was listed; `size` in bytes, None if unknown."""

    location: str
    relative: str
    size: int | None


def parse(text: str) -> Location:
    """The location in its parts. Raises LocationError for one that has tricks in it; asks nobody."""
    if not text or len(text) > _CHARACTERS:
        raise LocationError(f"a location has 1 to {_CHARACTERS} characters, not {len(text)}")
    found = _SCHEME.match(text)
    if "\x00" in text or (found is not None and not _may_have(text, SCHEMES[found[1]])):
        raise LocationError(f"location {text!r} has a character in it that no location may have")
    if found is None:
        return _local(text)
    scheme, rest = found[1], text[found.end() :]
    return _url(text, scheme) if SCHEMES[scheme].is_url else _object(text, scheme, rest)


def output_of(file: InputFile, folder: str) -> str:
    """Where the results of a file go: the same relative path below the folder. Raises LocationError."""
    location = f"{folder.rstrip('/')}/{file.relative}"
    parse(location)
    return location


def absolute(location: str) -> str:
    """A location as the command line takes it: a local one may be relative to the current folder."""
    if "://" in location or location.startswith("/"):
        return location
    return os.path.normpath(Path.cwd() / location) + ("/" if location.endswith("/") else "")


def _local(text: str) -> Location:
    if not text.startswith("/"):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
            known = ", ".join(f"'{scheme}://'" for scheme in SCHEMES)
            raise _malformed(text, f"location must start with {known} or '/'")
        raise _malformed(text, "location must start with '/'")
    segments = [segment for segment in text.split("/") if segment]
    _check_segments(text, segments)
    path = "/" + "/".join(segments)
    return Location(text, "", "", path + "/" if text.endswith("/") and path != "/" else path)


def _malformed(text: str, reason: str) -> LocationError:
    return LocationError(f"{text!r} is not allowed: {reason}", reason=reason)


def _object(text: str, scheme: str, rest: str) -> Location:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise LocationError(f"{text!r} names no bucket that could exist")
    if key:
        _check_segments(text, key.removesuffix("/").split("/"))
    if "?versionId=" in key:  # s3fs would take it for a version
        raise LocationError(f"{text!r} names a version; versions cannot be chosen")
    return Location(text, scheme, bucket, key)


def _url(text: str, scheme: str) -> Location:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError
    except ValueError as error:
        raise LocationError(f"{text!r} is no URL: {error}") from None
    if not text.isascii() or " " in text:
        raise LocationError(f"{text!r} has characters that a URL must have percent-encoded")
    if not parts.hostname or "@" in parts.netloc or parts.fragment or "\\" in text:
        raise LocationError(f"{text!r} must have a host, and no user name, password, fragment or backslash")
    path = parts.path.removeprefix("/")
    if path:
        _check_url_segments(text, path.removesuffix("/").split("/"))
    return Location(text, scheme, parts.netloc.lower(), path)


def _check_segments(text: str, segments: Sequence[str]) -> None:
    for segment in segments:
        if segment in ("", ".", ".."):
            raise LocationError(f"{text!r} has the part {segment!r}, which no location may have")


def _check_url_segments(text: str, segments: Sequence[str]) -> None:
    """Servers decode what is percent-encoded, and some take a backslash for a slash."""
    for segment in segments:
        plain = unquote(segment)
        if plain in ("", ".", "..") or any(trick in plain for trick in "/\\\x00"):
            raise LocationError(f"{text!r} has the part {segment!r}, which no location may have")


def _may_have(text: str, scheme: Scheme) -> bool:
    """A local file's name may have any characters, also bytes that are no UTF-8; others are sent as text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return scheme.control_characters or not _CONTROL.search(text)
