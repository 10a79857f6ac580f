"""How long a request waits for a model and how long that takes, for whoever answers it."""

from __future__ import annotations

from contextvars import ContextVar


class Times:
    """Of the models' work for one request. What is done for several texts side by side counts once, the longest."""

    __slots__ = ("model_ns", "queue_ns")

    def __init__(self) -> None:
        self.queue_ns = 0
        self.model_ns = 0

    def add(self, queue_ns: int, model_ns: int) -> None:
        """A model has done a part of it: it waited in the queue, and its batch ran."""
        self.queue_ns = max(self.queue_ns, queue_ns)
        self.model_ns = max(self.model_ns, model_ns)


TIMES: ContextVar[Times | None] = ContextVar("times", default=None)
"""Of the request that is answered now; None where nobody wants to know."""
