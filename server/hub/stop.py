"""How a thread that downloads is told to end."""

from __future__ import annotations

import threading

from server.hub.errors import HubUnavailableError


class Stop:
    """Of one download: set by any thread; those that download look at it, and end with HubUnavailableError."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._why = "the download was stopped; the next one goes on from there"

    def set(self, why: str | None = None) -> None:
        """`why`: for people; the first one is kept."""
        if why is not None and not self._event.is_set():
            self._why = why
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether it is to end."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise HubUnavailableError when it is to end."""
        if self._event.is_set():
            raise HubUnavailableError(self._why)

    def wait(self, seconds: float) -> None:
        """Sleep so long. Raises HubUnavailableError as soon as it is to end."""
        self._event.wait(seconds)
        self.check()
