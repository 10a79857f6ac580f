"""Where the server listens, and what may come by the Thrift port."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from process.settings import SettingsGroup, setting

MAX_NESTING = 64
"""The accelerated decoder of the thrift package goes no deeper."""

MESSAGE_BYTES = 16_384_000 - 1024
"""The default limit of a message: clients of Apache Thrift take frames of 16,384,000 bytes, and a message is not all of
one: there are its method's name, its ids, and a header."""

MAX_BYTES = 2**30 - 1
"""The longest frame that Thrift's header transport writes; no message may be longer."""


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
        "maximum time to finish accepted requests after SIGTERM and drain_delay_ms, or of a model that is unloaded",
        unit="ms",
        ge=0,
        to=("server.lifecycle", "server.models"),
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
    call_bytes: int = setting(
        64 << 20,
        "maximum size of the messages of the calls in progress on one connection; while there are more, it is not read",
        unit="bytes",
        ge=1024,
        to="server.transport",
    )
    held_bytes: int = setting(
        512 << 20,
        "maximum size of all messages of calls in progress, and of those that have come in part, on all connections;"
        " what is over it and over 64 KiB is answered with OVERLOADED, the largest part of a message first",
        unit="bytes",
        ge=1 << 20,
        to="server.transport",
    )
    inflate_ratio: int = setting(
        100,
        "maximum size of a message that came compressed, as a multiple of what came; up to 1 MiB it may always have",
        ge=1,
        le=2000,
        to="server.transport",
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
        10_000,
        "maximum number of fields in the structs of one message, and of values in fields that nobody knows",
        ge=1,
        to="server.transport",
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
