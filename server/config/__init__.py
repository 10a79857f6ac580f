"""Every setting of the server, declared once: a flag, an environment variable and a key of the config file.

`to` says who gets it: packages whose code reads it, and engines that are built with it. tests/server/test_settings.py
proves it for each.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from pydantic import ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

import rest_proxy.config
from process.command_line import Command, parse
from process.logs import LogSettings
from process.security.tls import TlsSettings
from process.settings import CommandSettings, SettingsGroup, declared, prefixed
from rest_proxy.config import Callers, Deadlines
from server.config.models import Generation, ModelHub, Models, Upstream
from server.config.ports import MAX_BYTES as MAX_BYTES
from server.config.ports import Drain, Ports
from server.config.ports import Limits as Limits
from server.config.queues import Batches, Jobs, Queues

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "PREDICTOR_"

# How settings of the proxy follow from the server's, where they are not given.
FOLLOW = {
    "host": "host",
    "max_timeout_ms": "max_timeout_ms",
    "timeout_ms": "timeout_ms",
    "item_timeout_ms": "item_timeout_ms",
    "drain_delay_ms": "drain_delay_ms",
    "drain_timeout_ms": "80 % of drain_timeout_ms",
    "log_level": "log_level",
    "log_format": "log_format",
}

# What the server alone can say to its proxy.
GIVEN = ("thrift", "ready_fd", "thrift_ca", "thrift_certificate")

# Settings of both that are always the same.
SHARED = (*Callers.model_fields, *TlsSettings.model_fields)

# Of the time for draining, the share that the proxy may use: its calls end before the Thrift server's may.
_PROXY_DRAIN_SHARE = 0.8


if TYPE_CHECKING:

    class Rest(SettingsGroup):
        """The proxy's settings, of which the server itself reads these."""

        rest_host: str | None
        rest_port: int
        rest_max_connections: int
else:
    Rest = prefixed(
        rest_proxy.config.Settings, "rest_", title="HTTP", to="proxy", left_out=(*GIVEN, *SHARED), follow=FOLLOW
    )


class Settings(
    Models,
    ModelHub,
    Upstream,
    Ports,
    Callers,
    TlsSettings,
    Deadlines,
    Drain,
    Limits,
    Batches,
    Queues,
    Generation,
    Jobs,
    LogSettings,
    Rest,
    CommandSettings,
):
    """The server's settings."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)

    @field_validator("model_device")
    @classmethod
    def _check_model_device(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _named_values(value, "NAME=DEVICE")

    @field_validator("upstream_keys")
    @classmethod
    def _check_upstream_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _named_values(value, "NAME=VARIABLE")

    @field_validator("http")
    @classmethod
    def _check_proxys_way_in(cls, value: str, info: ValidationInfo) -> str:
        if value == "proxy" and info.data.get("proxy_protocol") and info.data.get("unix_socket") is None:
            raise ValueError("with proxy_protocol, the proxy needs a way to the server of its own: set unix_socket too")
        return value

    @property
    def devices(self) -> dict[str, str]:
        """The devices of those models that have one of their own."""
        return dict(part.split("=", 1) for part in self.model_device)

    def of_model(self, name: str) -> Settings:
        """What a model of this name is loaded with."""
        keys = tuple(part for part in self.upstream_keys if part.partition("=")[0] == name)
        own = {"device": self.devices.get(name, self.device), "upstream_keys": keys}
        changed = {setting: value for setting, value in own.items() if value != getattr(self, setting)}
        return self.model_copy(update=changed) if changed else self

    def of_engine(self, engine: str) -> dict[str, Any]:
        """The settings that go to an engine by their declarations: what it is built with, by name."""
        return {name: getattr(self, name) for name, about in declared(type(self)).items() if engine in about.to}

    @property
    def workers(self) -> int:
        """Batches of one model that run at a time. The event loop keeps a core for itself where there is one."""
        return self.replicas or max(1, len(os.sched_getaffinity(0)) - 1)

    @property
    def http_host(self) -> str:
        """Where HTTP listens."""
        return self.rest_host or self.host

    def of_proxy(self, thrift: rest_proxy.config.Address) -> rest_proxy.config.Settings:
        """What the proxy that this server starts is to run with: all of its settings."""
        follow = {
            name: getattr(self, source) for name, source in FOLLOW.items() if source in type(self).model_fields
        } | {"drain_timeout_ms": max(1, int(self.drain_timeout_ms * _PROXY_DRAIN_SHARE))}
        own = {
            name: getattr(self, name if name in SHARED else f"rest_{name}")
            for name in rest_proxy.config.Settings.model_fields
            if name not in GIVEN
        }
        given = {name: value for name, value in own.items() if name not in follow or value is not None}
        return rest_proxy.config.Settings(**{**follow, **given, "thrift": (thrift,), "ready_fd": None})


def _named_values(parts: tuple[str, ...], form: str) -> tuple[str, ...]:
    """The parts, each of which is a name, "=" and a value. Raises ValueError."""
    for part in parts:
        name, _, value = part.partition("=")
        if not (name and value):
            raise ValueError(f"{part!r} is not of the form {form}")
    return parts


COMMAND = Command(
    module="server",
    installed="predictor-server",
    description="Serves text models over Thrift, and over HTTP.",
    examples="""\
  {program} models/classifier.pt                     one model, on ports 9090 (Thrift) and 8080 (HTTP)
  {program} --model a=one.pt --model b=folder        two models and their names
  {program} hf://OWNER/NAME                          a model of a hub, fetched into a cache first
  {program} openai://HOST:8000/MODEL                 a model of vLLM, llama.cpp or another such server
  {program} m.pt --host 0.0.0.0 --token-file FILE    open to those who have a token
  {program} m.pt --config server.toml --http off      more settings from a file, and no HTTP
  PREDICTOR_QUEUE_ITEMS=100 {program} m.pt           a setting from the environment""",
    epilog="""\
Every flag is also the environment variable in square brackets, and, by its name with underscores, a key of
the config file. A flag goes before its variable, and a variable before the file. PORT, as Cloud Run sets it, is
the HTTP port where neither --rest-port nor its variable is given. PyText's --port_thrift, --port_rest and
--norest work too.""",
    config=True,
    positional=("model", "MODEL", "the model to serve: LOCATION or NAME=LOCATION"),
    old_flags={"port": "port_thrift", "rest_port": "port_rest"},
    old_switches={"--norest": ("http", "off"), "--no-rest": ("http", "off")},
    host_variables={"rest_port": "PORT"},
    others={
        "PREDICTOR_NO_EXTENSION",  # of setup.py
        *(f"{rest_proxy.config.ENV_PREFIX}{name.upper()}" for name in GIVEN),  # of a proxy that runs by itself
    },
)


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings of the command line (default: this process's own), the environment and the config file.

    Exits with 2 when one is wrong, and with 1 and the usage when there is nothing to serve, as PyText's server did.
    """
    settings = parse(Settings, COMMAND, arguments)
    if not settings.model:
        print(f"{COMMAND.short_help}\nerror: no model is given", file=sys.stderr)
        raise SystemExit(1)
    return settings
