"""Every setting of the server, declared once: a flag, an environment variable and a key of the config file.

`to` says who gets it: packages whose code reads it, and engines that are built with it. tests/server/test_settings.py
proves it for each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

import rest_proxy.config
from process.command_line import Command, parse
from process.logs import LogSettings
from process.security.tls import TlsSettings
from process.settings import CommandSettings, Paths, SettingsGroup, Strings, declared, prefixed, setting
from rest_proxy.config import MESSAGE_BYTES, Callers, Deadlines

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "PREDICTOR_"

MAX_NESTING = 64
"""The accelerated decoder of the thrift package goes no deeper."""

MAX_BYTES = 2**30 - 1
"""The longest frame that Thrift's header transport writes; no message may be longer."""

# "messages" is the queue of models that read messages whole: Smart Reply, TensorFlow Lite, SavedModels.
_BATCH_ENGINES = ("torchscript", "encoder", "messages")
_ENGINES = (*_BATCH_ENGINES, "generator")

# How settings of the proxy follow from the server's, where they are not given.
FOLLOW = {
    "host": "host",
    "max_timeout_ms": "max_timeout_ms",
    "timeout_ms": "timeout_ms",
    "item_timeout_ms": "item_timeout_ms",
    "max_body_bytes": "message_bytes",
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


class Models(SettingsGroup, title="Models"):
    """What is served, and on which device."""

    model: Strings = setting(
        (),
        "a model to serve, LOCATION or NAME=LOCATION; may be given more than once",
        unit="name=location",
        to="server.lifecycle",
    )
    model_root: Path | None = setting(
        None, "folder below which load_model may load; without it load_model is off", to="server.rpc"
    )
    device: str = setting(
        "cpu",
        "device that libtorch computes on: cpu, cuda or cuda:N",
        to=("torchscript", "encoder", "generator"),
    )
    precision: Literal["float32", "bfloat16", "int8", "int4"] = setting(
        "float32",
        "precision of models that are read from Hugging Face folders, int4 of generators alone; of one:"
        " NAME=FOLDER,precision=int8",
        to=("encoder", "generator"),
    )
    model_device: Strings = setting(
        (),
        "device of one model, NAME=DEVICE; may be given more than once",
        unit="name=device",
        to=("server.lifecycle", "server.models"),
    )


class ModelHub(SettingsGroup, title="Models of a hub (hf://OWNER/NAME)"):
    """What is fetched, and where it is kept."""

    hub_cache: Path | None = setting(
        None,
        "folder for models of a hub; without it that of Hugging Face's libraries (HF_HUB_CACHE, HF_HOME)",
        to="server.models",
    )
    hub_max_bytes: int = setting(
        64 << 30,
        "maximum size of the files of one model that are fetched from a hub",
        unit="bytes",
        ge=1,
        to="server.models",
    )
    hub_models: Strings = setting(
        (),
        "model of a hub that load_model may load, OWNER/NAME, OWNER/* or *; may be given more than once",
        unit="owner/name",
        to="server.rpc",
    )


class Upstream(SettingsGroup, title="Models of upstream servers (openai://HOST:PORT/MODEL)"):
    """How a server that speaks OpenAI's API is asked."""

    upstream_calls: int = setting(
        64,
        "maximum number of calls of one model in progress: of texts that are generated, and of batches that are read",
        ge=1,
        le=4096,
        to="server.models",
    )
    upstream_keys: Strings = setting(
        (),
        "environment variable that holds the API key of a model, NAME=VARIABLE; may be given more than once",
        unit="name=variable",
        to=("server.lifecycle", "server.models"),
    )
    upstream_retry_ms: int = setting(
        2000,
        "time for which a server that cannot be reached is asked again, before callers are told",
        unit="ms",
        ge=0,
        to="server.models",
    )
    upstream_start_s: float = setting(
        120, "maximum time until a server answers when its model is loaded", unit="s", gt=0, to="server.models"
    )


class Ports(SettingsGroup, title="Addresses and ports"):
    """Where the server listens."""

    host: str = setting(
        "127.0.0.1",
        "address to listen on; 0.0.0.0: every interface; ::: with IPv4 and IPv6; both need token_file or insecure",
        to="server.lifecycle",
    )
    port: int = setting(9090, "Thrift port; 0: the system chooses", ge=0, le=65535, to="server.lifecycle")
    unix_socket: Path | None = setting(
        None, "path of a unix socket at which Thrift is served too", to=("server.lifecycle", "server.proxy")
    )
    proxy_protocol: bool = setting(
        False,
        "connections to the Thrift port begin with a load balancer's header (PROXY protocol, version 1 or 2)",
        to=("server.lifecycle", "server.proxy"),
    )
    http: Literal["inside", "proxy", "off"] = setting(
        "inside",
        "HTTP: inside, by this process; proxy, by a process of its own; off",
        to=("server.lifecycle", "server.__main__"),
    )
    metrics_port: int = setting(0, "port of the Prometheus metrics; 0: none", ge=0, le=65535, to="server.lifecycle")


class Drain(SettingsGroup, title="Draining"):
    """The end of the server."""

    drain_delay_ms: int = setting(
        0,
        "time after SIGTERM in which all is served as before, while /readyz says 503 and answers over HTTP close their"
        " connections: as long as load balancers need to notice",
        unit="ms",
        ge=0,
        le=3_600_000,
        to="server.lifecycle",
    )
    drain_timeout_ms: int = setting(
        30_000,
        "maximum time to finish accepted requests after SIGTERM and drain_delay_ms",
        unit="ms",
        ge=0,
        to="server.lifecycle",
    )


class Limits(SettingsGroup, title="Limits of the Thrift port"):
    """How much one client may send, and how long it may take. Errors call a limit by its name here."""

    connections: int = setting(
        1024,
        "maximum number of Thrift connections; more are answered with OVERLOADED and closed",
        ge=1,
        to=("server.transport", "server.__main__"),
    )
    connections_per_address: int = setting(
        512,
        "maximum number of Thrift connections from one address; more are closed as they come; 0: no limit",
        ge=0,
        to="server.transport",
    )
    pipelined_calls: int = setting(
        64,
        "maximum number of calls in progress on one connection; while there are so many, it is not read",
        ge=1,
        to="server.transport",
    )
    message_bytes: int = setting(
        MESSAGE_BYTES,
        "maximum size of one Thrift message, decompressed, and of one answer; clients of Apache Thrift take frames of"
        " 16,384,000 bytes",
        unit="bytes",
        ge=1024,
        le=MAX_BYTES,
        to=("server.transport", "server.rpc"),
    )
    string_bytes: int = setting(
        MESSAGE_BYTES, "maximum size of one string", unit="bytes", ge=1, le=MAX_BYTES, to="server.transport"
    )
    container_items: int = setting(
        100_000,
        "maximum number of items in the lists, sets and maps of one message",
        ge=1,
        le=MAX_BYTES,
        to="server.transport",
    )
    message_fields: int = setting(
        10_000, "maximum number of fields in the structs of one message", ge=1, to="server.transport"
    )
    nesting: int = setting(
        32,
        "maximum depth of structs and containers in a message",
        ge=1,
        le=MAX_NESTING,
        to="server.transport",
    )
    discard_bytes: int = setting(
        128 << 20,
        "maximum size of a refused message that is read to its end, so that its sender gets the answer",
        unit="bytes",
        ge=1,
        to="server.transport",
    )
    first_byte_s: float = setting(
        60,
        "time after which a connection is closed from which nothing has come",
        unit="s",
        gt=0,
        to="server.transport",
    )
    idle_s: float = setting(
        600, "time after which a silent connection is closed", unit="s", gt=0, to="server.transport"
    )
    message_s: float = setting(
        30, "maximum time for a message to arrive, from its first byte on", unit="s", gt=0, to="server.transport"
    )


class Batches(SettingsGroup, title="Batches"):
    """How requests become batches."""

    replicas: int = setting(
        0,
        "batches of one model that run at a time; 0: one less than the cores, for a sentence encoder one a core",
        ge=0,
        le=256,
        to=("torchscript", "encoder", "server.models"),
    )
    threads: int = setting(1, "threads within one batch", ge=1, le=256, to=("torchscript", "encoder", "generator"))
    batch_items: int = setting(64, "maximum number of requests in one batch", ge=1, le=65536, to=_BATCH_ENGINES)
    bulk_items: int = setting(
        32,
        "maximum number of requests in one batch of the bulk lane, for which an interactive request may have to wait",
        ge=1,
        le=65536,
        to=_BATCH_ENGINES,
    )
    batch_tokens: int = setting(
        16_384,
        "maximum number of tokens in one batch, padding included",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to=("torchscript", "messages"),
    )
    encoder_batch_tokens: int = setting(
        512,
        "maximum number of tokens in one batch of a model that reads whole texts; a package's count with their padding",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to="encoder",
    )
    max_delay_ms: float = setting(
        0,
        "maximum time that a request waits for others to share its batch",
        unit="ms",
        ge=0,
        le=10_000,
        to=_BATCH_ENGINES,
    )
    look_ahead: int = setting(
        256, "maximum number of waiting requests that are considered for one batch", ge=1, le=65536, to=_BATCH_ENGINES
    )
    bulk_share: float = setting(
        0.25,
        "share of the replicas, or of the slots, that the bulk lane gets while the interactive lane is in use",
        gt=0,
        lt=1,
        to=_ENGINES,
    )
    equal_lengths: Literal["auto", "always", "never"] = setting(
        "auto",
        "whether only documents of equal length share a batch; auto: where a probe shows that it is needed",
        to="torchscript",
    )
    warm_up_tokens: int = setting(
        64,
        "length of the longest document of the warm-up; 0: no warm-up",
        unit="tokens",
        ge=0,
        le=65536,
        to=("torchscript", "encoder"),
    )
    inline_us: int = setting(
        200,
        "maximum time of a batch that runs in the event loop's thread, when no other request waits; 0: none does",
        unit="us",
        ge=0,
        le=100_000,
        to=("torchscript", "server.models"),
    )
    busy_poll_us: int = setting(
        100,
        "time that the server stays awake for the next request after one to a TorchScript model ran inline; 0: none",
        unit="us",
        ge=0,
        le=10_000,
        to="server.models",
    )
    hold: int = setting(0, "form no batch until so many requests wait; for tests", ge=0, to=_ENGINES)


class Queues(SettingsGroup, title="Queues and sizes of requests"):
    """What one model accepts."""

    queue_items: int = setting(4096, "maximum number of requests that wait for one model", ge=1, to=_ENGINES)
    queue_tokens: int = setting(
        1 << 20, "maximum number of tokens that wait for one model", unit="tokens", ge=1, to=_ENGINES
    )
    max_tokens: int = setting(
        4096,
        "maximum number of tokens in one document",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to=("torchscript", "encoder", "generator", "server.models"),
    )
    max_token_bytes: int = setting(
        1 << 14,
        "maximum size of one token, where a TorchScript model gets tokens",
        unit="bytes",
        ge=16,
        le=1 << 24,
        to="torchscript",
    )
    max_message_bytes: int = setting(
        1 << 17,
        "maximum size of one message, where a model replies or reads texts whole",
        unit="bytes",
        ge=1,
        le=1 << 24,
        to=("torchscript", "server.models"),
    )
    tensorflow_start_s: float = setting(
        120,
        "maximum time that TensorFlow takes to load a SavedModel, at first and after its process died",
        unit="s",
        gt=0,
        to=("server.models", "server.batch"),
    )


class Generation(SettingsGroup, title="Generation of text"):
    """Texts that grow token by token."""

    slots: int = setting(16, "number of texts that one model generates at a time", ge=1, le=256, to="generator")
    cache_bytes: int = setting(
        1 << 30,
        "maximum size of the keys and values (KV cache) that one generator keeps of its texts and of earlier prompts",
        unit="bytes",
        ge=1 << 16,
        le=1 << 44,
        to="generator",
    )
    max_output_tokens: int = setting(
        1024,
        "maximum number of new tokens in one generated text",
        unit="tokens",
        ge=1,
        le=1 << 20,
        to=("generator", "server.models"),
    )
    chat_template_ms: int = setting(
        1000,
        "maximum processor time that a model's chat template may take for one conversation",
        unit="ms",
        ge=10,
        le=60_000,
        to="server.models",
    )
    chat_template_bytes: int = setting(
        512 << 20,
        "maximum memory of the process that renders a model's chat template",
        unit="bytes",
        ge=64 << 20,
        le=1 << 40,
        to="server.models",
    )
    streams: int = setting(
        1024, "maximum number of streamed texts that are not yet read to their end", ge=1, to="server.rpc"
    )


class Jobs(SettingsGroup, title="Batch jobs"):
    """What jobs may use, and how many there may be."""

    jobs_db: Path | None = setting(None, "SQLite file of the batch jobs; without it there are none", to="server.batch")
    batch_roots: Paths = setting(
        (),
        "local folder below which jobs may read and write; may be given more than once",
        unit="folder",
        to="server.batch",
    )
    batch_schemes: Strings = setting(
        (),
        "scheme that jobs may use, such as gs, https or tfserving; may be given more than once",
        unit="scheme",
        to="server.batch",
    )
    batch_buckets: Strings = setting(
        (),
        "place that jobs may use, such as gs://bucket or s3://bucket/folder; may be given more than once",
        unit="bucket",
        to="server.batch",
    )
    batch_jobs: int = setting(1, "number of batch jobs that run at a time", ge=1, le=64, to="server.batch")
    batch_queue: int = setting(1000, "maximum number of batch jobs that wait", ge=1, to="server.batch")
    batch_kept: int = setting(1000, "number of ended batch jobs whose records are kept", ge=1, to="server.batch")
    batch_line_bytes: int = setting(
        64 << 20,
        "maximum size of one line of a job's input for a SavedModel",
        unit="bytes",
        ge=1,
        le=1 << 30,
        to="server.batch",
    )
    batch_text_line_bytes: int = setting(
        1 << 20,
        "maximum size of one line of a job's input of texts; online requests wait while a line is read",
        unit="bytes",
        ge=1,
        le=1 << 30,
        to="server.batch",
    )


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
