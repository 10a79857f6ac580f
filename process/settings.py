"""Settings: each declared once, as a field of a group; flags, variables, keys of a file and docs are made from that.

    class Ports(SettingsGroup, title="Ports"):
        port: int = setting(9090, "Thrift port; 0: the system chooses", to="server.lifecycle", ge=0, le=65535)

A class of settings inherits from its groups and from `CommandSettings`. The command line goes before the environment,
the environment before the file, the file before the default.
"""

from __future__ import annotations

import copy
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, create_model
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic.fields import FieldInfo


def _parted(value: Any) -> Any:
    return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parted)]
"""Strings: a flag that may be given more than once; in a variable, and in a file's string, commas part them."""

Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_parted)]
"""The same for paths."""


class SettingsGroup(BaseModel):
    """Settings that belong together: they stand below the group's title in --help and in the docs."""


class CommandSettings(BaseSettings):
    """The settings of a command: of all its groups. They cannot be changed."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")


def setting(
    default: Any,
    help: str,  # noqa: A002
    *,
    to: str | tuple[str, ...],
    unit: str = "",
    **limits: Any,
) -> Any:
    """A setting.

    `help`: in plain English, with no word about default, range and variable, which are added. `to`: who gets it, in
    words that the test of all settings knows: packages whose code reads it, engines that are built with it. `unit`:
    ms, s, us, bytes, tokens, or another word for what is counted. `limits`: ge, gt, le, lt.
    """
    extra: dict[str, Any] = {"to": (to,) if isinstance(to, str) else to, "unit": unit, "default_text": ""}
    return Field(default, description=help, json_schema_extra=extra, **limits)


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared about a setting."""

    name: str
    title: str
    """Of its group."""
    field: FieldInfo
    prefix: str
    """Of its variable."""

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """In the environment."""
        return f"{self.prefix}{self.name.upper()}"

    @property
    def help(self) -> str:
        """What it does."""
        assert self.field.description is not None
        return self.field.description

    @property
    def to(self) -> tuple[str, ...]:
        """Who gets it."""
        found: tuple[str, ...] = self._extra["to"]
        return found

    @property
    def unit(self) -> str:
        """Of its number; empty where it has none."""
        found: str = self._extra["unit"]
        return found

    @property
    def default(self) -> str:
        """In words; "none" where there is none."""
        value = self.field.default
        if value is None or value == ():
            return self._extra["default_text"] or "none"
        if isinstance(value, bool):
            return "on" if value else "off"
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that are taken; empty where there are others."""
        return _choices(self.field.annotation)

    @property
    def range(self) -> str:
        """In words, as "1 to 1024", or the choices; empty where any value is taken."""
        if self.choices:
            return ", ".join(self.choices)
        bounds = {
            name: getattr(item, name)
            for item in self.field.metadata
            for name in ("ge", "gt", "le", "lt")
            if hasattr(item, name)
        }
        least = str(bounds["ge"]) if "ge" in bounds else f"over {bounds['gt']!s}" if "gt" in bounds else ""
        most = str(bounds["le"]) if "le" in bounds else f"below {bounds['lt']!s}" if "lt" in bounds else ""
        if least and most:
            return f"{least} to {most}" if most[0].isdigit() else f"{least}, {most}"
        return least if least.startswith("over") else f"at least {least}" if least else most and f"at most {most}"

    @property
    def _extra(self) -> dict[str, Any]:
        extra = self.field.json_schema_extra
        assert isinstance(extra, dict)
        return extra


def declared(settings: type[CommandSettings]) -> dict[str, Declared]:
    """All settings of a class by their names, in the order of its groups."""
    prefix = settings.model_config["env_prefix"]
    groups = [base for base in settings.__mro__ if issubclass(base, SettingsGroup) and base is not SettingsGroup]
    fields = settings.model_fields
    titles = {name: group.model_config["title"] for group in groups for name in group.__annotations__ if name in fields}
    missing = fields.keys() - titles.keys()
    assert not missing, f"settings of no group: {missing}"
    return {name: Declared(name, title or "", fields[name], prefix) for name, title in titles.items()}


def prefixed(
    settings: type[CommandSettings],
    prefix: str,
    title: str,
    to: str,
    left_out: Collection[str],
    follow: Mapping[str, str],
) -> type[SettingsGroup]:
    """The settings of a child process as settings of its parent: of the same names after `prefix`, and of one group.

    `left_out`: settings that the parent gives by itself. `follow`: settings that follow from one of the parent's where
    they are not given, and that one's name, for the help; their default is None.
    """
    fields: dict[str, Any] = {}
    for name, about in declared(settings).items():
        if name in left_out:
            continue
        field = copy.copy(about.field)
        extra: dict[str, Any] = {"to": (to,), "unit": about.unit, "default_text": ""}
        kind: Any = field.annotation
        if name in follow:
            field.default = None
            extra["default_text"] = f"that of {follow[name]}" if follow[name].isidentifier() else follow[name]
            kind = kind | None
        field.json_schema_extra = extra
        fields[prefix + name] = (kind, field)
    return create_model("Prefixed", __base__=SettingsGroup, __cls_kwargs__={"title": title}, **fields)


def is_list(annotation: Any) -> bool:
    """Whether a setting of this type holds several values."""
    return typing.get_origin(annotation) is tuple


def _choices(annotation: Any) -> tuple[str, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_choices, typing.get_args(annotation))), ())
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
