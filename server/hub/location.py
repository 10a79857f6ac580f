"""Where a model is on a hub: hf://OWNER/NAME or hf://OWNER/NAME@REVISION."""

from __future__ import annotations

import re
from typing import NamedTuple

from server.errors import ModelError

SCHEME = "hf://"
MAIN = "main"
"""The revision where none is named."""

_FORM = f"{SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?:{_PART}/)?{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")


class HubModel(NamedTuple):
    """A model on the hub."""

    name: str
    """OWNER/NAME; some old ones have no owner."""
    revision: str = MAIN
    """A branch, a tag or a commit."""

    def __str__(self) -> str:
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"

    @property
    def short_name(self) -> str:
        """Without the owner."""
        return self.name.rpartition("/")[2]


def is_hub(location: str) -> bool:
    """Whether a location names a model on the hub."""
    return location.startswith(SCHEME)


def parse_location(location: str) -> HubModel:
    """The model in hf://OWNER/NAME[@REVISION]. Raises ModelError."""
    name, at, revision = location.removeprefix(SCHEME).partition("@")
    if not is_hub(location):
        raise ModelError(f"{location!r} is not of the form {_FORM}")
    try:
        return parse(name, revision if at else MAIN)
    except ModelError as error:
        raise ModelError(f"{error}; expected {_FORM}") from None


def parse(name: str, revision: str = MAIN) -> HubModel:
    """A model by its name and revision. Raises ModelError for what can be neither."""
    if not is_name(name):
        raise ModelError(f"{name[:200]!r} is no name of a model on the hub")
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith(("/", ".lock")):
        raise ModelError(f"{revision[:300]!r} is no name of a revision")
    return HubModel(name, revision)


def is_name(text: str) -> bool:
    """Whether the hub allows it as the name of a model."""
    return (
        _NAME.fullmatch(text) is not None
        and ".." not in text
        and "--" not in text  # between owner and name in the cache
        and not text.endswith((".", "-", ".git"))
    )


def short_name(location: str) -> str:
    """The model's name in a location, right or wrong, without owner and revision."""
    return location.removeprefix(SCHEME).partition("@")[0].rstrip("/").rpartition("/")[2]
