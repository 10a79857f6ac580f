"""A TensorFlow server that others keep running."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from server.errors import ModelError, unavailable
from server.tensorflow.client import ModelClient

if TYPE_CHECKING:
    from server.tensorflow.location import Address

_PAUSE_S = 0.5


class RemoteServer:
    """What a Caller needs of it is what it needs of a ChildServer."""

    def __init__(self, address: Address, timeout_s: float, *, patient: bool = False) -> None:
        """`timeout_s`: seconds that the model may take until it is AVAILABLE, `patient`: each time that it is lost.

        Raises ModelError.
        """
        self._patient = patient
        self._client = ModelClient(address)
        self._timeout_s = timeout_s
        self._closing = threading.Event()
        self.version = 0

    def start(self) -> None:
        """Returns when the model is AVAILABLE. Raises ModelError, also when it is closed meanwhile."""
        self.version = self._client.wait_available(self._timeout_s, self._check)

    def _check(self) -> None:
        if self._closing.is_set():
            raise ModelError("it is being closed")

    def client(self, deadline: float) -> ModelClient:
        """The client of calls."""
        return self._client

    def lost(self, client: ModelClient, deadline: float) -> None:
        """A call of the client found nobody: wait, no longer than until the deadline. Raises PredictionError.

        Where we are patient that is until the model is there again.
        """
        left = max(0.0, deadline - time.monotonic())
        if not self._patient:
            self._closing.wait(min(_PAUSE_S, left))
            return
        try:
            client.wait_available(min(self._timeout_s, left), self._check, patient=True)
        except ModelError as error:
            raise unavailable(f"the TensorFlow server has not come back: {error}") from None

    def close(self) -> None:
        """Let go of the connection."""
        self._closing.set()
        self._client.close()
