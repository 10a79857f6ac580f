"""Locations that people give: what they may look like, and which of them this process may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMES = ("gs", "s3", "http", "https")
HTTP = ("http", "https")

_CHARACTERS = 4096
_SCHEME = re.compile(r"(gs|s3|https?)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SETTINGS = "settings batch_roots, batch_schemes, batch_buckets"


class LocationError(ValueError):
    """A location that is malformed or not allowed; the message names it and the settings."""


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


def parse(text: str) -> Location:
    """The location in its parts. Raises LocationError for one that has tricks in it; asks nobody."""
    if not text or len(text) > _CHARACTERS:
        raise LocationError(f"a location has 1 to {_CHARACTERS} characters, not {len(text)}")
    if _CONTROL.search(text) or not _is_utf8(text):
        raise LocationError(f"location {text!r} has a character in it that no location may have")
    found = _SCHEME.match(text)
    if found is None:
        return _local(text)
    scheme, rest = found[1], text[found.end() :]
    return _http(text, scheme) if scheme in HTTP else _object(text, scheme, rest)


class Allowed:
    """What may be used: local folders, whole schemes, and single places such as 'gs://bucket' or 's3://bucket/folder'."""

    def __init__(self, roots: Sequence[Path], schemes: Sequence[str], buckets: Sequence[str]) -> None:
        for scheme in schemes:
            if scheme not in SCHEMES:
                raise LocationError(f"scheme {scheme!r} is none of {', '.join(SCHEMES)} (setting batch_schemes)")
        self._roots = [root.resolve() for root in roots]
        self._schemes = frozenset(schemes)
        self._places = [_place(bucket) for bucket in buckets]
        self.beginnings = [f"{scheme}://" for scheme in SCHEMES if scheme in self._schemes]
        self.beginnings += [place.text for place in self._places]
        self.beginnings += [f"{root}/".replace("//", "/") for root in self._roots]

    def check(self, location: Location, for_what: Literal["read", "write"]) -> None:
        """Raises LocationError where the location may not be used."""
        if location.scheme in HTTP and for_what == "write":
            raise LocationError(f"{location.text!r} cannot be written: http and https locations are for reading")
        if not (self._allows(location) if location.scheme else self._resolves_below_root(location)):
            raise self._refused(location.text)

    def _allows(self, location: Location) -> bool:
        return location.scheme in self._schemes or any(
            (location.scheme, location.bucket) == (place.scheme, place.bucket) and location.path.startswith(place.path)
            for place in self._places
        )

    def _resolves_below_root(self, location: Location) -> bool:
        try:
            path = Path(location.path).resolve()  # links included, so that none leads out
        except (OSError, RuntimeError) as error:  # too long a name; links in a circle
            raise LocationError(f"{location.text!r} cannot be resolved: {error}") from None
        return any(path.is_relative_to(root) for root in self._roots)

    def _refused(self, text: str) -> LocationError:
        if not self.beginnings:
            return LocationError(f"{text!r} is not allowed: no location is ({_SETTINGS})")
        *others, last = map(repr, self.beginnings)
        choices = f"{', '.join(others)} or {last}" if others else last
        return LocationError(f"{text!r} is not allowed ({_SETTINGS}): location must start with {choices}")


def _local(text: str) -> Location:
    if not text.startswith("/"):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
            known = ", ".join(f"'{scheme}://'" for scheme in SCHEMES)
            raise LocationError(f"{text!r} is not allowed: location must start with {known} or '/'")
        raise LocationError(f"{text!r} is not allowed: a local location must start with '/'")
    segments = [segment for segment in text.split("/") if segment]
    _check_segments(text, segments)
    path = "/" + "/".join(segments)
    return Location(text, "", "", path + "/" if text.endswith("/") and path != "/" else path)


def _object(text: str, scheme: str, rest: str) -> Location:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise LocationError(f"{text!r} names no bucket that could exist")
    if key:
        _check_segments(text, key.removesuffix("/").split("/"))
    if "?versionId=" in key:  # s3fs would take it for a version
        raise LocationError(f"{text!r} names a version; versions cannot be chosen")
    return Location(text, scheme, bucket, key)


def _http(text: str, scheme: str) -> Location:
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
        _check_segments(text, path.removesuffix("/").split("/"))
    return Location(text, scheme, parts.netloc.lower(), path)


def _check_segments(text: str, segments: Sequence[str]) -> None:
    for segment in segments:
        plain = unquote(segment)
        if plain in ("", ".", "..") or any(trick in plain for trick in "/\\\x00"):
            raise LocationError(f"{text!r} has the part {segment!r}, which no location may have")


def _place(text: str) -> Location:
    location = parse(text)
    if not location.scheme:
        raise LocationError(f"{text!r} names no bucket (setting batch_buckets); local folders are batch_roots")
    path = f"{location.path.rstrip('/')}/" if location.path else ""
    return Location(f"{location.scheme}://{location.bucket}/{path}", location.scheme, location.bucket, path)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
