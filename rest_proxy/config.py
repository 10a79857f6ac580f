"""Every setting of the proxy, declared once: a flag, a variable, and a setting of the server that starts it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from process.command_line import Command, parse
from process.logs import LogSettings
from process.security.tls import TlsSettings
from process.settings import CommandSettings, SettingsGroup, Strings, setting

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "PREDICTOR_REST_"

SETTINGS_ON_STDIN = "--settings-on-stdin"
"""The only argument of a proxy that a server starts: a line of JSON with all settings comes on stdin."""


BODY_BYTES = 8 << 20
"""The default limit of a request's body over HTTP: 2,048 texts of 512 tokens are some 5 to 7 MB of JSON."""


UNIX = "unix:"
"""What the host of an address begins with that is a unix socket's path."""

_LONGEST_PATH = 107  # of a unix socket: sockaddr_un has no room for more


class Address(NamedTuple):
    """Where a Thrift server listens."""

    host: str
    port: int

    @property
    def path(self) -> str | None:
        """Of a unix socket."""
        return self.host.removeprefix(UNIX) if self.host.startswith(UNIX) else None

    def __str__(self) -> str:
        if self.path is not None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, with an IPv6 host in brackets, or `unix:PATH`. Raises ValueError."""
    if text.strip().startswith(UNIX):
        path = text.strip().removeprefix(UNIX)
        if not path.startswith("/") or len(path.encode()) > _LONGEST_PATH:
            raise ValueError(f"{text.strip()!r} is not unix: and a whole path of at most {_LONGEST_PATH} bytes")
        return Address(UNIX + path, 0)
    host, colon, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text.strip()!r} is not HOST:PORT with a port of 1 to 65535")
    return Address(host, int(port))


def _addresses(value: Any) -> Any:
    """Of a string, or of several, each of which may hold several."""
    if isinstance(value, str):
        value = (value,)
    texts = [text for part in value if isinstance(part, str) for text in part.split(",")]
    return tuple(map(parse_address, texts)) if texts else value


class Addresses(SettingsGroup, title="Addresses"):
    """Where the proxy listens, and whom it calls."""

    thrift: Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)] = setting(
        (Address("127.0.0.1", 9090),),
        "Thrift servers to call, HOST:PORT or unix:PATH, separated by commas",
        unit="host:port",
        to="rest_proxy",
    )
    host: str = setting(
        "127.0.0.1",
        "address to listen on; 0.0.0.0: every interface; ::: with IPv4 and IPv6; both need token_file or insecure",
        to="rest_proxy",
    )
    port: int = setting(8080, "port to listen on; 0: the system chooses", ge=0, le=65535, to="rest_proxy")
    ready_fd: int | None = setting(
        None,
        "inherited file descriptor to which the proxy writes its port, as one line, once it listens",
        ge=3,
        to="rest_proxy",
    )


class Callers(SettingsGroup, title="Who may call"):
    """The same for the server and the proxy."""

    token_file: Path | None = setting(
        None,
        "file of the tokens of those who may call, and of their rights (predictor-token makes them); read again when it"
        " changes; without it everybody may do everything",
        to=("rest_proxy", "server.lifecycle", "proxy"),
    )
    insecure: bool = setting(
        False,
        "let everybody call who reaches the ports, where other machines do and there are no tokens",
        to=("rest_proxy", "server.lifecycle", "proxy"),
    )
    requests_per_address: float = setting(
        0,
        "maximum number of requests a second from one address, on each port; more are OVERLOADED; 0: no limit",
        ge=0,
        to=("rest_proxy", "server.lifecycle", "proxy"),
    )


class Deadlines(SettingsGroup, title="Deadlines"):
    """The same for the server and the proxy."""

    max_timeout_ms: int = setting(
        600_000,
        "maximum timeout that a request may ask for",
        unit="ms",
        ge=1,
        le=(1 << 31) - 1,
        to=("rest_proxy", "server.rpc"),
    )
    timeout_ms: int = setting(
        10_000, "timeout of a request that does not ask for one", unit="ms", ge=1, to=("rest_proxy", "server.rpc")
    )
    item_timeout_ms: int = setting(
        1000,
        "what each text of a list beyond the first adds to timeout_ms, up to max_timeout_ms",
        unit="ms",
        ge=0,
        to=("rest_proxy", "server.rpc"),
    )

    def timeout_ms_of(self, items: int) -> int:
        """Of a request with so many texts that does not ask for a timeout."""
        grown = self.timeout_ms + max(items - 1, 0) * self.item_timeout_ms
        return max(self.timeout_ms, min(grown, self.max_timeout_ms))


class ProxyDeadlines(Deadlines, title="Deadlines of HTTP requests"):
    """How long the parts of a request may take. It inherits what its values are compared with."""

    generation_timeout_ms: int = setting(
        600_000,
        "timeout of a request that generates text and does not ask for one",
        unit="ms",
        ge=1,
        to="rest_proxy",
    )
    first_byte_timeout_ms: int = setting(
        30_000, "time after which a connection is closed from which nothing has come", unit="ms", ge=1, to="rest_proxy"
    )
    head_timeout_ms: int = setting(
        10_000, "maximum time for the head of a request to arrive", unit="ms", ge=1, to="rest_proxy"
    )
    write_timeout_ms: int = setting(
        60_000,
        "time after which a connection is closed whose client reads nothing of an answer",
        unit="ms",
        ge=1,
        to="rest_proxy",
    )
    body_timeout_ms: int = setting(
        30_000, "maximum time for a request's body to arrive", unit="ms", ge=1, to="rest_proxy"
    )
    keep_alive_ms: int = setting(
        75_000, "time after which an idle HTTP connection is closed", unit="ms", ge=1, to="rest_proxy"
    )
    drain_delay_ms: int = setting(
        0,
        "time after SIGTERM in which all is served as before, while /readyz says 503 and answers close connections",
        unit="ms",
        ge=0,
        le=3_600_000,
        to="rest_proxy",
    )
    drain_timeout_ms: int = setting(
        10_000,
        "maximum time to finish requests in progress when the proxy stops",
        unit="ms",
        ge=1,
        to="rest_proxy",
    )
    heartbeat_ms: int = setting(
        10_000,
        "time without new text after which a stream sends a comment",
        unit="ms",
        ge=10,
        le=60_000,
        to="rest_proxy",
    )
    stream_interval_ms: int = setting(
        20,
        "minimum time between two parts of a stream; what a fast model writes in between is joined",
        unit="ms",
        ge=0,
        le=1000,
        to="rest_proxy",
    )


class ProxyLimits(SettingsGroup, title="Limits of HTTP requests"):
    """How much one client, and all together, may ask for."""

    max_requests: int = setting(
        1024, "maximum number of requests in progress; more are answered with 429", ge=1, to="rest_proxy"
    )
    max_connections: int = setting(
        4096, "maximum number of HTTP connections; more are answered with 503", ge=1, to="rest_proxy"
    )
    max_connections_per_address: int = setting(
        1024,
        "maximum number of HTTP connections from one address; more are answered with 429; 0: no limit",
        ge=0,
        to="rest_proxy",
    )
    max_generations: int = setting(
        256,
        "maximum number of texts that are generated at a time; more are answered with 429",
        ge=1,
        le=1024,
        to="rest_proxy",
    )
    max_body_bytes: int = setting(
        BODY_BYTES,
        "maximum size of a request's body, decompressed",
        unit="bytes",
        ge=1024,
        le=1 << 30,
        to="rest_proxy",
    )
    max_json_values: int = setting(
        100_000,
        "maximum number of values (texts, numbers, lists, objects) in a JSON body of more than 64 KiB",
        ge=1024,
        to="rest_proxy",
    )
    max_json_fields: int = setting(
        10_000, "maximum number of fields of objects in a JSON body of more than 64 KiB", ge=64, to="rest_proxy"
    )
    max_line_bytes: int = setting(
        65_536, "maximum size of a URL or a header line", unit="bytes", ge=1024, le=1 << 20, to="rest_proxy"
    )
    max_docs: int = setting(
        2048, "maximum number of documents, messages or texts in one request", ge=1, to="rest_proxy"
    )


class Backends(SettingsGroup, title="Calls to the Thrift servers"):
    """How the proxy calls the servers."""

    connections: int = setting(32, "maximum number of connections to one server", ge=1, le=1024, to="rest_proxy")
    calls_per_connection: int = setting(
        32, "maximum number of calls in flight on one connection", ge=1, le=4096, to="rest_proxy"
    )
    connect_timeout_ms: int = setting(
        1000, "maximum time to connect to a server", unit="ms", ge=1, le=60_000, to="rest_proxy"
    )
    status_interval_ms: int = setting(
        1000, "time between two questions for a server's status", unit="ms", ge=10, le=60_000, to="rest_proxy"
    )
    cooldown_ms: int = setting(
        1000,
        "time for which a server that is UNAVAILABLE gets no calls",
        unit="ms",
        ge=1,
        le=60_000,
        to="rest_proxy",
    )
    grace_ms: int = setting(
        500,
        "time that a server may be late before its call counts as lost",
        unit="ms",
        ge=0,
        le=60_000,
        to="rest_proxy",
    )
    thrift_ca: Path | None = setting(
        None,
        "file with the authorities of the servers' certificates (PEM): they are called by TLS; read again when it"
        " changes, as the next one",
        to="rest_proxy",
    )
    thrift_certificate: Path | None = setting(
        None, "file with the certificate, and its key, that is shown to servers that ask for one (PEM)", to="rest_proxy"
    )
    max_reply_bytes: int = setting(
        64 << 20, "maximum size of a server's reply", unit="bytes", ge=1024, le=1 << 30, to="rest_proxy"
    )


class Answers(SettingsGroup, title="Answers"):
    """What all answers have in common."""

    cors_origins: Strings = setting(
        (),
        "origin whose pages may call, such as https://app.example, or *; may be given more than once",
        unit="origin",
        to="rest_proxy",
    )
    hosts: Strings = setting(
        (),
        "name by which HTTP is reached without tokens, beside addresses and names without a dot, or *; may be given"
        " more than once",
        unit="name",
        to="rest_proxy",
    )
    server_timing: bool = setting(
        False,
        "say in each answer's header Server-Timing how long it took, and how much of that in the queue and the model",
        to="rest_proxy",
    )
    compress_bytes: int = setting(
        262_144,
        "size from which on an answer is compressed where its client asks for it",
        unit="bytes",
        ge=256,
        to="rest_proxy",
    )


class AccessLog(SettingsGroup, title="Access log"):
    """What is logged beside errors."""

    access_log: bool = setting(False, "log every request", to="rest_proxy")


class Settings(
    Addresses,
    Callers,
    TlsSettings,
    ProxyDeadlines,
    ProxyLimits,
    Backends,
    Answers,
    AccessLog,
    LogSettings,
    CommandSettings,
):
    """The proxy's settings."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)

    @field_validator("timeout_ms", "generation_timeout_ms")
    @classmethod
    def _within_maximum(cls, value: int, info: ValidationInfo) -> int:
        maximum: int = info.data.get("max_timeout_ms", value)  # not there when it is wrong itself
        return min(value, maximum)


COMMAND = Command(
    module="rest_proxy",
    installed="predictor-rest-proxy",
    description="HTTP proxy of the prediction service: plain HTTP in, Thrift calls out.",
    examples="""\
  {program}                                        in front of a server on this machine
  {program} --thrift 10.0.0.1:9090,10.0.0.2:9090   in front of two servers
  PREDICTOR_REST_PORT=80 {program} --host 0.0.0.0 --token-file tokens.toml    open to others, on port 80""",
    epilog="Every flag is also the environment variable in square brackets; a flag goes before its variable. PORT, as\n"
    "Cloud Run sets it, is the port where neither is given.",
    host_variables={"port": "PORT"},
)


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line (default: this process's) and the environment; exits with 2 when one is wrong."""
    return parse(Settings, COMMAND, arguments)
