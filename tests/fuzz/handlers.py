"""The server's own handlers, whose model computes its answers from letters: no engine, and no file."""

from __future__ import annotations

import time
from typing import Any

from predictor.ttypes import ServerStatus

from server.config import Settings
from server.rpc.handler import Handler
from tests.support.letters import Letters, registry_of

SETTINGS = Settings()


def status() -> ServerStatus:
    """Of a server that is ready."""
    return ServerStatus("", 0.0, True, [], 0, [])


def handler() -> Any:
    """With the model `letters`."""
    return Handler(registry_of(SETTINGS, letters=Letters()), SETTINGS, status)


def deadline_ns() -> int:
    """Far away."""
    return time.monotonic_ns() + 60 * 10**9
