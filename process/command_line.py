"""The settings of a command from its command line, the environment and a file, and a clear word for what is wrong."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource, EnvSettingsSource, InitSettingsSource, TomlConfigSettingsSource

from process.settings import CommandSettings, declared, is_list
from process.version import VERSION_LINE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pydantic_settings import PydanticBaseSettingsSource

    from process.settings import Declared

_HELP_COLUMN = 28
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}

S = TypeVar("S", bound=CommandSettings)


class SettingError(Exception):
    """A setting is wrong; the message says which, for people."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a command's --help says besides its settings."""

    module: str
    """That `python -m` runs."""
    installed: str
    """The script that pip installs for it."""
    description: str
    examples: str
    """Lines of a shell; `{program}` in them stands for how the command was called."""
    epilog: str = ""
    config: bool = False
    """Whether there is --config FILE, and a variable CONFIG that names the file."""
    positional: tuple[str, str, str] | None = None
    """A list that may be given without its flag too: its name, what stands in the usage, and the help."""
    old_flags: Mapping[str, str] = field(default_factory=dict)
    """Setting -> what its flag was called elsewhere, without dashes."""
    old_switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Flag without a value, with dashes -> a setting and the value that it gets."""
    host_variables: Mapping[str, str] = field(default_factory=dict)
    """Setting -> the variable in which a host gives it where its own variable is not set, as Cloud Run does by PORT."""
    others: Collection[str] = ()
    """Variables that begin as this command's do and are not its settings."""

    @property
    def program(self) -> str:
        """How it was called."""
        return called_as(self.module, self.installed)

    @property
    def shown_examples(self) -> str:
        """The examples as they can be typed."""
        return self.examples.replace("{program}", self.program)

    @property
    def usage(self) -> str:
        """One line."""
        positional = f" [{self.positional[1]}]" if self.positional else ""
        return f"{self.program}{positional} [--SETTING VALUE ...]"

    @property
    def short_help(self) -> str:
        """What fits on a screen."""
        return (
            f"usage: {self.usage}\n\n{self.description}\n\nexamples:\n{self.shown_examples}\n\n"
            f"`{self.program} --help` lists all settings.\n"
        )


def called_as(module: str, installed: str) -> str:
    """How this process's command is typed: by its installed script's name if that runs, else `python -m MODULE`."""
    return installed if Path(sys.argv[0]).name == installed else f"python -m {module}"


def parse(settings: type[S], command: Command, arguments: Sequence[str] | None = None) -> S:
    """The settings of the command line (default: this process's own), the environment and the file.

    Ends the process with 2 where one is wrong, and after --help and --version with 0.
    """
    known = declared(settings)
    parser = _Parser(command, known)
    source: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(
        settings,
        root_parser=parser,
        add_argument_method=_Parser.add_setting,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_shortcuts={name.replace("_", "-"): [old] for name, old in command.old_flags.items()},
    )
    given = parser.parse(sys.argv[1:] if arguments is None else arguments)
    try:
        config = given.pop("config", None)
        # Not by the source, which would part what a list's flag was given at its commas.
        lists = {name: given.pop(name) for name in list(given) if is_list(known[name].field.annotation)}
        return load(settings, command, lists, source(parsed_args=given), config)
    except SettingError as error:
        parser.error(str(error))


def load(
    settings: type[S],
    command: Command,
    given: Mapping[str, Any],
    source: PydanticBaseSettingsSource | None = None,
    config: str | None = None,
) -> S:
    """The settings given by a program, from the flags' source, the environment and a TOML file, in this order.

    The file is the one that the variable CONFIG names where `config` does not.

    Raises SettingError.
    """
    known = declared(settings)
    prefix = settings.model_config["env_prefix"]
    _check_environment(prefix, command, known)
    if config is None and command.config:
        config = next((value for name, value in os.environ.items() if name.upper() == f"{prefix}CONFIG"), None)
    config_name = f"{prefix}CONFIG" if source is None else "argument --config"
    sources: list[PydanticBaseSettingsSource] = [InitSettingsSource(settings, dict(given))]
    sources += [] if source is None else [source]
    sources.append(EnvSettingsSource(settings))
    by_host = {
        name: os.environ[variable] for name, variable in command.host_variables.items() if variable in os.environ
    }
    sources.append(InitSettingsSource(settings, by_host))
    try:
        if config:
            Path(config).open("rb").close()  # the source takes a file that is not there for an empty one
            sources.append(TomlConfigSettingsSource(settings, Path(config)))
    except (OSError, ValueError) as error:  # no file, no TOML, no UTF-8
        raise SettingError(f"{config_name}: {config}: {error}") from None
    build: dict[str, Any] = {"_build_sources": (tuple(sources), {})}
    try:
        return settings(**build)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in known:
            raise SettingError(f"{config_name}: {config}: unknown setting {name}{_nearest(name, known)}") from None
        about = known[name]
        where = about.variable if source is None else f"argument {about.flag} ({about.variable})"
        raise SettingError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


class _Parser(argparse.ArgumentParser):
    """Takes from pydantic-settings which flags there are, and shows them in groups."""

    def __init__(self, command: Command, known: Mapping[str, Declared]) -> None:
        super().__init__(
            prog=command.program,
            usage=command.usage,
            description=f"{command.description}\n\nexamples:\n{command.shown_examples}",
            epilog=command.epilog,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=_HELP_COLUMN),
            allow_abbrev=False,
        )
        self._known = known
        self._command = command
        self.add_argument("--version", action="version", version=VERSION_LINE)
        if command.config:
            help_text = f"TOML file with settings [{next(iter(known.values())).prefix}CONFIG]"
            self.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=help_text)
        if command.positional is not None:
            _, metavar, help_text = command.positional
            self.add_argument("_first", metavar=metavar, nargs="?", default=argparse.SUPPRESS, help=help_text)
        self._groups = {title: self.add_argument_group(title) for title in {about.title: 0 for about in known.values()}}
        for switch, (name, value) in command.old_switches.items():
            self.add_argument(
                switch,
                dest=name,
                action="store_const",
                const=value,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
            )

    def add_setting(self, *flags: str, **options: Any) -> None:
        """Called by CliSettingsSource for each setting."""
        about = self._known[options["dest"]]
        options["help"] = f"{about.help} {_in_brackets(about)}".replace("%", "%%")
        if "metavar" in options:
            choices = "{" + ",".join(about.choices) + "}" if about.choices else ""
            options["metavar"] = about.unit.upper() or choices or _metavar(about.field.annotation)
        shown = [name for name in flags if name.removeprefix("--") not in self._command.old_flags.values()]
        group = self._groups[about.title]
        action = group.add_argument(*flags, **options)
        # What is shown: neither the old flags nor `--no-` before one of them.
        action.option_strings = [*shown, *(name for name in action.option_strings if name.startswith("--no-"))]

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """What the arguments say."""
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            wrong = next((name for name in unknown if name.startswith("-")), unknown[0])
            flags = [name for name in self._option_string_actions if name.startswith("--")]
            nearest = _nearest(wrong.partition("=")[0], flags, prefix="--")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{nearest}")
        given = vars(namespace)
        first = given.pop("_first", None)
        if first is not None:
            assert self._command.positional is not None
            name = self._command.positional[0]
            given[name] = [first, *given.get(name, [])]
        return given


def _metavar(annotation: Any) -> str:
    if annotation in _METAVARS:
        return _METAVARS[annotation]
    return _metavar(typing.get_args(annotation)[0])  # of `int | None`, of a tuple


def _in_brackets(about: Declared) -> str:
    parts = [] if about.choices or not about.range else [about.range]  # choices are the flag's metavar
    parts += [] if about.default == "none" else [f"default {about.default}"]
    return f"({'; '.join(parts)}) [{about.variable}]" if parts else f"[{about.variable}]"


def _check_environment(prefix: str, command: Command, known: Mapping[str, Declared]) -> None:
    """Raises SettingError where a variable begins as those of the settings do and is none of them."""
    names = {about.variable for about in known.values()} | set(command.others)
    if command.config:
        names.add(f"{prefix}CONFIG")
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name.upper() not in names:
            raise SettingError(f"unknown environment variable {name}{_nearest(name.upper(), names, prefix)}")


def _nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """`prefix`: what all names begin with, which makes none of them nearer."""
    found = difflib.get_close_matches(name.removeprefix(prefix), [known.removeprefix(prefix) for known in names], 1)
    return f"; did you mean {prefix}{found[0]}?" if found else ""
