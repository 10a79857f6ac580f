"""The server's own handlers, whose model computes its answers from letters: no engine, and no file."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ServerStatus

from server.config import Settings
from server.rpc.handler import Handler
from tests.support.letters import Letters, registry_of

if TYPE_CHECKING:
    from server.calls import PlainCall
    from server.models.requests import Answer

SETTINGS = Settings()


class PlainLetters(Letters):
    """Answers plain calls at once (server/rpc/plain.py), as an engine does later."""

    def begin_predict(self, doc: str, deadline_ns: int, flow: int, call: PlainCall, answer: Answer | None) -> bool:
        """How many letters, in the bytes of `answer` where those have numbers of eight bytes."""
        form = None if answer is None else answer.around(["letters"])
        if form is None:
            call.resolve({"letters": float(len(doc))})
        else:
            (before, after), big_endian = form
            call.resolve(before + struct.pack(">d" if big_endian else "<d", len(doc)) + after)
        return True


def status() -> ServerStatus:
    """Of a server that is ready."""
    return ServerStatus("", 0.0, True, [], 0, [])


def handler() -> Any:
    """With the model `letters`."""
    return Handler(registry_of(SETTINGS, letters=PlainLetters()), SETTINGS, status)


def deadline_ns() -> int:
    """Far away."""
    return time.monotonic_ns() + 60 * 10**9
