"""Every setting of the proxy, once: a field here is a command line flag and an environment variable."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "PREDICTOR_REST_"


class Address(NamedTuple):
    """Where a Thrift server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, with an IPv6 host in brackets. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text.strip()!r} is not HOST:PORT with a port of 1 to 65535")
    return Address(host, int(port))


class Settings(BaseSettings):
    """Command line before environment before default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    thrift: Annotated[tuple[Address, ...], NoDecode] = Field(
        (Address("127.0.0.1", 9090),), description="Thrift servers to call, HOST:PORT[,HOST:PORT...]"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 lets the system choose")

    connections: int = Field(32, ge=1, le=1024, description="Thrift connections to one server at most")
    calls_per_connection: int = Field(32, ge=1, le=4096, description="calls in flight on one connection at most")
    connect_timeout_ms: int = Field(1000, ge=1, le=60_000, description="milliseconds for connecting to a server")
    status_interval_ms: int = Field(1000, ge=10, le=60_000, description="milliseconds between questions for status")
    cooldown_ms: int = Field(
        1000, ge=1, le=60_000, description="milliseconds without calls to a server that is UNAVAILABLE"
    )
    max_reply_bytes: int = Field(64 << 20, ge=1024, le=1 << 30, description="bytes in one server's answer at most")

    max_timeout_ms: int = Field(
        60_000, ge=1, le=(1 << 31) - 1, description="milliseconds that a request may ask for, and get by default"
    )
    timeout_ms: int = Field(10_000, ge=1, description="milliseconds for a request that says nothing else")
    generation_timeout_ms: int = Field(
        60_000, ge=1, description="milliseconds for a generated text whose request says nothing else"
    )
    heartbeat_ms: int = Field(
        10_000, ge=10, le=60_000, description="milliseconds without new text after which a stream sends a comment"
    )
    stream_interval_ms: int = Field(
        20, ge=0, le=1000, description="milliseconds between two parts of a stream at least; a fast model's are joined"
    )
    grace_ms: int = Field(500, ge=0, le=60_000, description="milliseconds a server may be late before the call is lost")

    max_requests: int = Field(1024, ge=1, description="requests in progress at most; more are answered 429")
    max_connections: int = Field(4096, ge=1, description="HTTP connections at most; more are answered 503")
    max_body_bytes: int = Field(1 << 20, ge=1024, le=1 << 30, description="bytes in a request's body at most, unpacked")
    max_line_bytes: int = Field(65_536, ge=1024, le=1 << 20, description="bytes in a URL or a header line at most")
    max_generations: int = Field(256, ge=1, le=1024, description="texts being generated at most; more are answered 429")
    max_docs: int = Field(1024, ge=1, description="documents, messages or texts in one request at most")
    body_timeout_ms: int = Field(30_000, ge=1, description="milliseconds for a request's body to arrive")
    keep_alive_ms: int = Field(75_000, ge=1, description="milliseconds that an idle HTTP connection stays open")
    drain_timeout_ms: int = Field(10_000, ge=1, description="milliseconds for requests in progress when it stops")

    access_log: bool = Field(False, description="log every request")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    ready_fd: int | None = Field(
        None, ge=3, description="inherited file descriptor that gets 'PORT\\n' when it listens"
    )
    parent_pid: int | None = Field(None, ge=1, description="process to stop with: the one that started the proxy")

    @field_validator("thrift", mode="before")
    @classmethod
    def _split_addresses(cls, value: Any) -> Any:
        return tuple(parse_address(text) for text in value.split(",")) if isinstance(value, str) else value

    @field_validator("timeout_ms", "generation_timeout_ms")
    @classmethod
    def _within_longest(cls, value: int, info: ValidationInfo) -> int:
        longest: int = info.data.get("max_timeout_ms", value)  # not there when it is wrong itself
        return min(value, longest)


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rest_proxy",
        description="HTTP proxy of the prediction service. Every flag is also the environment variable in brackets.",
    )
    for name, field in Settings.model_fields.items():
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        shown = "" if default is None else f"; default {default}"
        text = f"{field.description}{shown} [{ENV_PREFIX}{name.upper()}]"
        if field.annotation is bool:
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(flag(name), metavar=name.upper(), default=argparse.SUPPRESS, help=text)
    return parser


def flag(name: str) -> str:
    """The command line flag of a setting."""
    return "--" + name.replace("_", "-")


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line (default: this process's) and the environment; exits with 2 when one is wrong."""
    parser = _argument_parser()
    given = vars(parser.parse_args(arguments))
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        parser.error(
            f"argument {flag(name)} ({ENV_PREFIX}{name.upper()}): {first['msg'].removeprefix('Value error, ')}"
        )
