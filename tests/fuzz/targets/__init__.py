"""What is fuzzed, by name. Each is a module with a class Target."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

INSTRUMENTED = {
    "thrift": ("server.transport", "server.rpc", "server.security", "process.security", "thrift", "server.models"),
    "http": (
        "rest_proxy",
        "server.proxy",
        "server.rpc",
        "server.transport",
        "aiohttp.web_request",
    ),
    "batch": ("server.batch", "server.tensorflow", "server.models", "process.options"),
    "tokens": ("process.security", "server.security", "tomllib"),
    "folder": ("server.models",),
    "weights": ("server.models", "zipfile", "pickletools"),
    "gguf": ("server.models",),
    "tflite": ("server.models",),
}
"""The packages whose branches guide each fuzzer."""

NAMES = tuple(INSTRUMENTED)


class Target(Protocol):
    """Of one process; it belongs to the thread that made it."""

    growth_bytes: int
    """What the process may grow by for one unit."""

    def __init__(self, files: SharedFiles) -> None:
        """`files`: where models are that it needs."""

    def seeds(self) -> Iterator[bytes]:
        """Right inputs, of every kind: `one` gives true for each."""

    def one(self, data: bytes) -> bool:
        """Take the bytes as whoever gets them from outside does; whether they were right.

        What it raises is a fault: errors that refuse something are caught.
        """

    def close(self) -> None:
        """End what runs."""


def made(name: str, files: SharedFiles) -> Target:
    """A target."""
    module: Any = importlib.import_module(f"{__name__}.{name}")
    target: Target = module.Target(files)
    return target
