"""The file of tokens: TOML, a line for each, with the token's SHA-256 and never the token itself.

    app = { sha256 = "5e88...", methods = ["predict*"], models = ["intent"], requests_per_s = 100 }
    ops = { sha256 = "a3f1...", methods = [], may = ["load_models", "jobs", "metrics", "status"] }
    batch = { certificate = "batch.example.com", in_flight = 8 }

Tokens are made at random, 256 bits of each: one round of SHA-256 is enough for them, as nobody can guess one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import tomllib
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Right = Literal["load_models", "jobs", "metrics", "status"]

PREFIX = "pt_"
"""What the tokens of our command begin with, so that scanners of repositories know one when they see it."""

LONGEST = 512
"""Characters of a token."""

_FILE_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,127}")


class TokenFileError(Exception):
    """The file cannot be used; the message says why, and has nothing in it that is secret."""


def _moment(value: Any) -> Any:
    """The end of a day, and a moment that has no zone as one of UTC; anything else as it is."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.max)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


class Entry(BaseModel):
    """What a token is known by, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    certificate: str | None = Field(None, min_length=1, max_length=512)
    """A name in the client's certificate: its common name, or one of its alternative names."""
    methods: list[str] = ["*"]
    """Patterns of the contract's methods that answer for a model."""
    models: list[str] = ["*"]
    """Patterns of models' names."""
    may: list[Right] = []
    requests_per_s: float | None = Field(None, gt=0, le=1e9)
    tokens_per_s: float | None = Field(None, gt=0, le=1e12)
    in_flight: int | None = Field(None, ge=1)
    expires: Annotated[datetime, BeforeValidator(_moment)] | None = None


def new_token() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What a token is known by."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def read(path: Path, methods: Collection[str]) -> dict[str, Entry]:
    """The entries by their names; `methods` are those that patterns may mean. Raises TokenFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from None
    if len(content) > _FILE_BYTES:
        raise TokenFileError(f"{path}: over {_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise TokenFileError(f"{path}: {_without_line(error)}") from None
    entries = {name: _entry(path, name, value, methods) for name, value in table.items()}
    for field in ("sha256", "certificate"):
        names: dict[str, str] = {}
        for name, entry in entries.items():
            known = getattr(entry, field)
            if known is not None and names.setdefault(known, name) != name:
                raise TokenFileError(f"{path}: {names[known]} and {name} have the same {field}")
    return entries


def _entry(path: Path, name: str, value: object, methods: Collection[str]) -> Entry:
    if not _NAME.fullmatch(name):
        raise TokenFileError(f"{path}: {name[:128]!r} cannot be a token's name")
    try:
        entry = Entry.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise TokenFileError(f"{path}: {where}: {first['msg']}") from None
    if entry.sha256 is None and entry.certificate is None:
        raise TokenFileError(f"{path}: {name}: neither sha256 nor certificate says how it is known")
    for pattern in entry.methods:
        if not any(fnmatchcase(method, pattern) for method in methods):
            raise TokenFileError(f"{path}: {name}.methods: no method is named {pattern[:64]!r}")
    return entry


def _without_line(error: Exception) -> str:
    """The reason; what stands in the file is not repeated."""
    reason = str(error)
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", reason)
    return f"not TOML, {place[1]}" if place else f"not TOML ({type(error).__name__})"
