"""Which locations this process may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from process.files import resolved
from server.batch.storage.errors import LocationError
from server.batch.storage.locations import Location, parse
from server.batch.storage.own_files import OwnFile, OwnFiles
from server.batch.storage.schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Sequence

_SETTINGS = "settings batch_roots, batch_schemes, batch_buckets"


class AllowedLocations:
    """Local folders, whole schemes, and single places such as 'gs://bucket' or 's3://bucket/folder'.

    `own` files may not be used, wherever they are. With `any_address` a whole scheme of web servers means those of
    this machine and its networks too.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        schemes: Sequence[str],
        buckets: Sequence[str],
        own: Sequence[OwnFile] = (),
        *,
        any_address: bool = False,
    ) -> None:
        """Raises LocationError."""
        self.own = OwnFiles(own)
        self._any_address = any_address
        for scheme in schemes:
            if scheme not in SCHEMES:
                message = f"scheme {scheme!r} is none of {', '.join(SCHEMES)} (setting batch_schemes)"
                raise LocationError(message, "batch_schemes")
        self._roots = [root.resolve() for root in roots]
        self._schemes = frozenset(schemes)
        self._places = [_place(bucket) for bucket in buckets]
        choices = [f"{scheme}://" for scheme in SCHEMES if scheme in self._schemes]
        choices += [place.text for place in self._places]
        self._choices = [repr(choice) for choice in choices]
        if self._roots:  # which these are, the server's operator knows, and not every caller
            self._choices.append("a folder of the setting batch_roots")

    def check(self, location: Location, purpose: Literal["read", "write"]) -> None:
        """Raises LocationError where the location may not be used."""
        if purpose == "write" and location.scheme and not SCHEMES[location.scheme].writable:
            read_only = " and ".join(scheme.name for scheme in SCHEMES.values() if not scheme.writable)
            raise LocationError(f"{location.text!r} cannot be written: {read_only} locations are for reading")
        if location.scheme:
            if location.scheme not in self._schemes and not self._is_named(location):
                raise self._refused(location)
        else:
            self._check_local(location, purpose)

    def allows_any_address(self, location: Location) -> bool:
        """Whether an allowed location's host may have any address; else only one that the whole internet reaches."""
        return self._any_address or self._is_named(location)

    def _is_named(self, location: Location) -> bool:
        return any(
            (location.scheme, location.bucket) == (place.scheme, place.bucket) and location.path.startswith(place.path)
            for place in self._places
        )

    def _check_local(self, location: Location, purpose: Literal["read", "write"]) -> None:
        try:
            path = resolved(Path(location.path))  # so that no link leads out
        except OSError as error:  # links in a circle
            raise LocationError(f"{location.text!r} cannot be resolved: {error}") from None
        if not any(path.is_relative_to(root) for root in self._roots):
            raise self._refused(location)
        if (setting := self.own.setting_of(path, purpose)) is not None:
            raise own_file(location.text, setting)

    def _refused(self, location: Location) -> LocationError:
        setting = "batch_schemes" if location.scheme else "batch_roots"
        if not self._choices:
            message = f"{location.text!r} is not allowed: no location is ({_SETTINGS})"
            return LocationError(message, setting, reason="no location is allowed")
        *others, last = self._choices
        choices = f"{', '.join(others)} or {last}" if others else last
        reason = f"location must start with {choices}"  # as embedded-tf put it
        return LocationError(f"{location.text!r} is not allowed ({_SETTINGS}): {reason}", setting, reason=reason)


def own_file(text: str, setting: str) -> LocationError:
    """The location is one of the server's own files."""
    reason = f"it is the server's own, or lies in what is (setting {setting})"
    return LocationError(f"{text!r} is not allowed: {reason}", setting, reason=reason)


def _place(text: str) -> Location:
    location = parse(text)
    if not location.scheme:
        message = f"{text!r} names no bucket (setting batch_buckets); local folders are batch_roots"
        raise LocationError(message, "batch_buckets")
    path = f"{location.path.rstrip('/')}/" if location.path else ""
    return Location(f"{location.scheme}://{location.bucket}/{path}", location.scheme, location.bucket, path)
