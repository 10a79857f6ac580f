"""How much one client may send, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, fields

MAX_NESTING = 64
"""The accelerated decoder of the thrift package goes no deeper."""

MAX_BYTES = 2**30 - 1
"""The longest frame that Thrift's header transport writes; no message may be longer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The transport's limits. Each is a setting of the same name, and errors call it by that name."""

    message_bytes: int = 16 * 1024 * 1024
    """Bytes of one message, after decompression. 1 to 2^30 - 1."""

    string_bytes: int = 16 * 1024 * 1024
    """Bytes of one string. 1 to 2^30 - 1."""

    container_items: int = 100_000
    """Items in the lists, sets and maps of one message. 1 to 2^30 - 1."""

    message_fields: int = 10_000
    """Fields in the structs of one message. At least 1."""

    nesting: int = 32
    """Structs and containers inside each other, the arguments as a whole being the first. 1 to 64."""

    connections: int = 1024
    """Connections open at once; more are closed as they come. At least 1."""

    pipelined_calls: int = 64
    """Calls of one connection in progress at once; the connection is not read while there are so many. At least 1."""

    discard_bytes: int = 128 * 1024 * 1024
    """
    Bytes of a refused message that are read and thrown away, so that its sender gets to read the answer. A frame that
    goes beyond them costs its sender the connection. At least 1.
    """

    idle_s: float = 600.0
    """Seconds without a message, with nothing in progress, after which a connection is closed. Over 0."""

    message_s: float = 30.0
    """Seconds within which a message that has begun must have come completely. Over 0."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"{field.name} is {value}; it must be over 0")
        for name, most in (
            ("message_bytes", MAX_BYTES),
            ("string_bytes", MAX_BYTES),
            ("container_items", MAX_BYTES),
            ("nesting", MAX_NESTING),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at most {most}")
