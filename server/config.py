"""Every setting of the server, once: a field here is a command line flag, an environment variable and a config key.

The command line goes before the environment, the environment before the config file, the file before the default.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "PREDICTOR_"

# What PyText's server called these flags.
_OLD_FLAGS = {"--port_thrift": "--port", "--port_rest": "--rest-port", "--norest": "--no-rest"}


# Settings that may be given more than once; in the environment they are parted by commas.
_LISTS = {
    "model": "NAME=LOCATION",
    "model_device": "NAME=DEVICE",
    "batch_roots": "FOLDER",
    "batch_schemes": "SCHEME",
    "batch_buckets": "BUCKET",
}


class Settings(BaseSettings):
    """Milliseconds, bytes and tokens are what the names say; every limit answers with its own name when it is hit."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    model: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="a model to serve, LOCATION or NAME=LOCATION; may be given more than once"
    )
    model_root: Path | None = Field(None, description="folder below which load_model may load; without it that is off")

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(9090, ge=0, le=65535, description="Thrift port; 0 lets the system choose")
    rest: bool = Field(True, description="start the REST proxy")
    rest_port: int = Field(8080, ge=0, le=65535, description="HTTP port of the REST proxy; 0 lets the system choose")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of Prometheus metrics; 0: none")

    timeout_ms: int = Field(10_000, ge=1, description="deadline of a request that names none")
    max_timeout_ms: int = Field(600_000, ge=1, le=(1 << 31) - 1, description="longest deadline that a request may name")
    drain_timeout_ms: int = Field(30_000, ge=0, description="how long accepted requests may take after SIGTERM")

    connections: int = Field(1024, ge=1, description="Thrift connections at most")
    pipelined_calls: int = Field(64, ge=1, description="calls in progress on one connection at most")
    message_bytes: int = Field(
        16 << 20,
        ge=1024,
        le=(1 << 30) - 1,
        description="bytes in one Thrift message, or in the vectors of one answer, at most",
    )
    string_bytes: int = Field(16 << 20, ge=1, le=(1 << 30) - 1, description="bytes in one string at most")
    container_items: int = Field(100_000, ge=1, le=(1 << 30) - 1, description="items in one list or map at most")
    message_fields: int = Field(10_000, ge=1, description="fields in the structs of one message at most")
    discard_bytes: int = Field(
        128 << 20, ge=1, description="bytes of a refused message that are read, so that its sender gets the answer"
    )
    nesting: int = Field(32, ge=1, le=64, description="depth of structs and containers in a message at most")
    idle_s: float = Field(600, gt=0, description="seconds after which a silent connection is closed")
    message_s: float = Field(30, gt=0, description="seconds in which a message that has begun must be complete")

    replicas: int = Field(
        0,
        ge=0,
        le=256,
        description="batches of one model that run at a time; 0: one less than the cores, for an encoder all of them",
    )
    threads: int = Field(1, ge=1, le=256, description="threads within one batch")
    device: str = Field("cpu", description="what libtorch computes on: cpu, cuda or cuda:N")
    model_device: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="the same for one model, NAME=DEVICE; may be given more than once"
    )
    batch_items: int = Field(64, ge=1, le=65536, description="requests in one batch at most")
    bulk_items: int = Field(
        32,
        ge=1,
        le=65536,
        description="the same for the bulk lane: an interactive request may have to wait for a batch",
    )
    batch_tokens: int = Field(16_384, ge=1, le=1 << 24, description="tokens in one batch at most, padding included")
    encoder_batch_tokens: int = Field(
        512, ge=1, le=1 << 24, description="the same for a sentence encoder, which needs no padding"
    )
    max_delay_ms: float = Field(0, ge=0, le=10_000, description="how long a request may wait for company")
    look_ahead: int = Field(256, ge=1, le=65536, description="waiting requests looked at for one batch")
    bulk_share: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the workers, or of the slots, that the bulk lane gets while the other lane is in use",
    )
    queue_items: int = Field(4096, ge=1, description="requests waiting for one model at most")
    queue_tokens: int = Field(1 << 20, ge=1, description="tokens waiting for one model at most")
    max_tokens: int = Field(4096, ge=1, le=1 << 24, description="tokens in one document at most")
    max_token_bytes: int = Field(
        1 << 14, ge=16, le=1 << 24, description="bytes in one token at most, where a TorchScript model gets tokens"
    )
    max_message_bytes: int = Field(
        1 << 17,
        ge=1,
        le=1 << 24,
        description="bytes in one message at most, where a model replies or reads texts whole",
    )
    equal_lengths: Literal["auto", "always", "never"] = Field(
        "auto", description="whether only documents of equal length share a batch; auto: where a probe shows the need"
    )
    warm_up_tokens: int = Field(64, ge=0, le=65536, description="longest document of the warm-up; 0: no warm-up")
    inline_us: int = Field(
        200, ge=0, le=100_000, description="a request that is alone and takes no longer needs no worker; 0: all do"
    )
    busy_poll_us: int = Field(
        100,
        ge=0,
        le=10_000,
        description="how long the server stays awake for the next after such a request to a TorchScript model; 0: not",
    )
    slots: int = Field(16, ge=1, le=256, description="texts that one model generates at a time")
    max_output_tokens: int = Field(1024, ge=1, le=1 << 20, description="new tokens in one generated text at most")
    streams: int = Field(1024, ge=1, description="streamed texts that were begun and not read to their end, at most")
    tensorflow_start_s: float = Field(
        120, gt=0, description="seconds that TensorFlow may take until a SavedModel is loaded, also after its death"
    )
    hold: int = Field(0, ge=0, description="form no batch until so many requests wait; for tests")

    jobs_db: Path | None = Field(None, description="SQLite file of the batch jobs; without it there are none")
    batch_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="a local folder below which jobs may read and write; may be given more than once"
    )
    batch_schemes: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="a scheme that jobs may use: gs, s3, http, https, tfserving; may be given more than once"
    )
    batch_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="a place that jobs may use, e.g. gs://bucket or s3://bucket/folder; may be given more than once"
    )
    batch_jobs: int = Field(1, ge=1, le=64, description="batch jobs that run at a time")
    batch_queue: int = Field(1000, ge=1, description="batch jobs that wait at most")
    batch_kept: int = Field(1000, ge=1, description="batch jobs that have ended of which the server keeps the record")
    batch_line_bytes: int = Field(
        64 << 20, ge=1, le=1 << 30, description="bytes in one line of a job's input for a SavedModel at most"
    )
    batch_text_line_bytes: int = Field(
        1 << 20, ge=1, le=1 << 30, description="the same for a text; while a line is read online requests wait"
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")

    @field_validator(*_LISTS, mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value

    @field_validator("model_device")
    @classmethod
    def _check_model_device(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            name, _, device = part.partition("=")
            if not (name and device):
                raise ValueError(f"{part!r} is not of the form NAME=DEVICE")
        return value

    @property
    def devices(self) -> dict[str, str]:
        """The devices of those models that have one of their own."""
        return dict(part.split("=", 1) for part in self.model_device)

    def of_model(self, name: str) -> Settings:
        """What a model of this name is loaded with."""
        device = self.devices.get(name, self.device)
        return self if device == self.device else self.model_copy(update={"device": device})

    @property
    def workers(self) -> int:
        """Batches of one model that run at a time. The event loop keeps a core for itself where there is one."""
        return self.replicas or max(1, len(os.sched_getaffinity(0)) - 1)


def flag(name: str) -> str:
    """The command line flag of a setting."""
    return "--" + name.replace("_", "-")


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings of the command line (default: this process's own), the environment and the config file.

    Exits with 2 when one is wrong, and with 1 and the usage when there is nothing to serve, as PyText's server did.
    """
    parser = _argument_parser()
    given = vars(parser.parse_args(_modern(sys.argv[1:] if arguments is None else arguments)))
    first = given.pop("first_model", None)
    if first is not None:
        given["model"] = [first, *given.get("model", [])]
    config = given.pop("config", None) or os.environ.get(f"{ENV_PREFIX}CONFIG")
    try:
        settings = Settings(**_below(_file_settings(config), given))
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        parser.error(f"argument {flag(name)} ({ENV_PREFIX}{name.upper()}): {wrong['msg']}")
    except (OSError, ValueError) as error:  # no file, no TOML, no UTF-8
        parser.error(f"argument --config: {config}: {error}")
    if not settings.model:
        parser.print_help(sys.stderr)
        raise SystemExit(1)
    return settings


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description="Serves text models over Thrift, and over HTTP through the REST proxy.",
        epilog="Every flag is also the environment variable in brackets, and, by its name with underscores, a key of"
        " the config file. PyText's --port_thrift, --port_rest and --norest work too.",
    )
    parser.add_argument("first_model", metavar="MODEL", nargs="?", help="the model to serve: LOCATION or NAME=LOCATION")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings [{ENV_PREFIX}CONFIG]")
    for name, field in Settings.model_fields.items():
        options: dict[str, Any] = {"metavar": name.upper()}
        if field.annotation is bool:
            options = {"action": argparse.BooleanOptionalAction}
        elif name in _LISTS:
            options = {"action": "append", "metavar": _LISTS[name]}
        shown = "" if field.default in (None, ()) else f"; default {field.default}"
        description = f"{field.description}{shown} [{ENV_PREFIX}{name.upper()}]"
        parser.add_argument(flag(name), default=argparse.SUPPRESS, help=description, **options)
    return parser


def _modern(arguments: Sequence[str]) -> list[str]:
    modern = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        modern.append(_OLD_FLAGS.get(name, name) + equals + value)
    return modern


def _file_settings(path: str | None) -> dict[str, Any]:
    return tomllib.loads(Path(path).read_text()) if path else {}


def _below(from_file: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The file's settings where neither the environment nor the command line says otherwise."""
    environment = {name.upper() for name in os.environ}
    return {
        name: value for name, value in from_file.items() if f"{ENV_PREFIX}{name.upper()}" not in environment
    } | given
