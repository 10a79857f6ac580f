"""Every setting arrives where its declaration says that it goes: each is changed, and who gets it must notice.

A receiver is an engine, a queue or the proxy's process, which are caught when they are built, or a package, whose
code must read the setting.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest

import rest_proxy.config
import server.config
import server.errors
from process.settings import declared, is_list
from server.config import Settings
from server.models import torchscript
from server.models.folder import load as folder_load
from server.models.folder.generation import load as generation
from server.models.message_cost import MessageCost
from server.models.options import NO_OPTIONS
from server.proxy.child import Proxy
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from process.settings import CommandSettings, Declared

# Where the rule for another value gives one that does not fit the other settings.
OTHERS = {
    "queue_tokens": 500_000,
    "replicas": 7,
    "model_device": ("a=cuda",),
    "upstream_keys": ("a=KEY",),
    "rest_drain_delay_ms": 7,  # its lowest is what it follows
}


class BuiltError(ValueError):
    """Raised instead of building an engine."""


def other_value(about: Declared) -> Any:
    """A value that is not the default: the lowest that is allowed, or the next one; of several choices the last."""
    field, name = about.field, about.name
    if name in OTHERS:
        return OTHERS[name]
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    if field.annotation is bool:
        return not field.default
    if is_list(field.annotation):
        return (kinds[0]("/other"),)
    if isinstance(kinds[0], str) or get_args(kinds[0]):  # a Literal, or one of several
        return [choice for choice in get_args(kinds[0]) or kinds if choice != field.default][-1]
    if kinds[0] in (str, Path):
        return kinds[0]("/other")
    bounds = {name: getattr(item, name) for item in field.metadata for name in ("ge", "gt") if hasattr(item, name)}
    if "ge" in bounds:
        return bounds["ge"] + (bounds["ge"] == field.default)
    return field.default / 2


class Captured:
    """What the last engine was built with."""

    arguments: Any = None

    def build(self, *_: object, **arguments: Any) -> Any:
        """In place of an engine's class."""
        self.arguments = arguments
        raise BuiltError("built")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Callable[[Settings], object]]:
    """For each engine, what it is built with under given settings."""
    captured = Captured()
    weights = SimpleNamespace(files=[], tensors={})
    read = SimpleNamespace(max_tokens=1 << 20, config={}, head={}, weights=weights, program=None, details={})
    folder = SimpleNamespace(
        config={}, weights=weights, token_bytes=SimpleNamespace(table=[]), end_tokens=[], details={}, adapter={}
    )
    monkeypatch.setattr(torchscript._torchscript, "TorchScriptEngine", captured.build)
    monkeypatch.setattr(folder_load._encoder, "EncoderEngine", captured.build)
    monkeypatch.setattr(folder_load.model_folder, "read", lambda *_: read)
    monkeypatch.setattr(generation._generator, "TextGenerator", captured.build)
    monkeypatch.setattr(generation.generator_folder, "read", lambda *_: folder)

    def loaded(load: Callable[..., Any]) -> Callable[[Settings], object]:
        def build(settings: Settings) -> object:
            captured.arguments = None
            with pytest.raises(server.errors.ModelError):
                asyncio.run(load(tmp_path, settings))
            return captured.arguments

        return build

    return {
        "torchscript": loaded(torchscript.load),
        "encoder": loaded(lambda path, settings: folder_load.load(path, settings, NO_OPTIONS)),
        "generator": loaded(lambda path, settings: generation.load(path, settings, NO_OPTIONS)),
        "messages": lambda settings: MessageCost(settings).queue_settings(),
        "proxy": lambda settings: asyncio.run(sent_to_proxy(settings)),
    }


async def sent_to_proxy(settings: Settings) -> dict[str, Any]:
    """The settings that the proxy's process reads on its stdin."""
    lines: list[bytes] = []

    async def start(*_: object, pass_fds: list[int], **__: object) -> Any:
        os.write(pass_fds[0], b"8080\n")
        ended = asyncio.get_running_loop().create_future()
        stdin = SimpleNamespace(write=lines.append, is_closing=lambda: False)
        return SimpleNamespace(stdin=stdin, returncode=0, wait=lambda: ended)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", start)
        proxy = Proxy(settings, 9090)
        await proxy.start()
        await proxy.stop(0)
    return {name: value for name, value in json.loads(lines[0]).items() if name != "ready_fd"}


@cache
def read_by(receiver: str) -> set[str] | None:
    """Names that code of a package, or of a module, reads off settings; None where there is no such package."""
    path = ROOT.joinpath(*receiver.split("."))
    files = list(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    if not all(file.exists() for file in files):
        return None
    trees = [ast.parse(file.read_text()) for file in files if file.name != "config.py"]
    reads = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in reads if _name(node.value).lstrip("_") in ("settings", "limits")}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_setting_arrives(built: dict[str, Callable[[Settings], object]]) -> None:
    usual = {receiver: build(Settings()) for receiver, build in built.items()}
    for name, about in declared(Settings).items():
        assert about.to, f"{name} goes to nobody"
        settings = Settings(**{name: other_value(about)})
        for receiver, build in built.items():
            if receiver in about.to:
                assert build(settings) != usual[receiver], f"{name} does not arrive at {receiver}"


@pytest.mark.parametrize("settings", [Settings, rest_proxy.config.Settings])
def test_every_setting_is_read(settings: type[CommandSettings]) -> None:
    for name, about in declared(settings).items():
        for receiver in about.to:
            if receiver not in ("torchscript", "encoder", "generator", "messages", "proxy"):
                read = read_by(receiver)
                assert read is not None, f"{name} goes to {receiver}, which is no package"
                aliases = {
                    name,
                    *{
                        "replicas": ("workers",),
                        "model_device": ("devices", "of_model"),
                        "item_timeout_ms": ("timeout_ms_of",),
                    }.get(name, ()),
                }
                assert read & aliases, f"{name} is not read in {receiver}"


def test_nobody_gets_what_is_not_declared(built: dict[str, Callable[[Settings], object]]) -> None:
    """Other settings, all changed at once, change nothing."""
    for receiver, build in built.items():
        others = {
            name: other_value(about)
            for name, about in declared(Settings).items()
            if receiver not in about.to and not _reaches_as_well(receiver, name)
        }
        assert build(Settings(**others)) == build(Settings()), receiver


def _reaches_as_well(receiver: str, name: str) -> bool:
    """What a receiver is built with besides the settings of its own."""
    also = {"proxy": {*FOLLOWED, "host", "unix_socket", "proxy_protocol"}, "messages": {"max_message_bytes"}}
    return name in also.get(receiver, ())


FOLLOWED = {text.rpartition(" ")[2] for text in server.config.FOLLOW.values()}


@pytest.mark.parametrize("name", sorted(FOLLOWED))
def test_settings_that_the_proxys_follow_from_arrive(name: str, built: dict[str, Callable[[Settings], object]]) -> None:
    settings = Settings(**{name: other_value(declared(Settings)[name])})
    assert built["proxy"](settings) != built["proxy"](Settings())


def test_units_are_those_that_the_names_say() -> None:
    for settings in (Settings, rest_proxy.config.Settings):
        for name, about in declared(settings).items():
            ending = name.rpartition("_")[2]
            if ending in ("ms", "us", "s", "bytes"):
                assert about.unit == ending, name
            elif ending == "tokens":
                assert about.unit == "tokens", name
            else:
                assert about.unit not in ("ms", "us", "s", "bytes"), name
