"""Calls of a SavedModel that outlive their server's death, and in which one bad instance fails alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from server.errors import ErrorCode, ModelError, PredictionError, deadline_exceeded, internal, unavailable
from server.tensorflow.child_server import ChildServer
from server.tensorflow.client import RefusedError, UnreachableError
from server.tensorflow.location import is_url, parse_url
from server.tensorflow.remote_server import RemoteServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from server.tensorflow.client import ModelClient
    from server.tensorflow.signature import Signature

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_TRIES = 4


class Server(Protocol):
    """A ChildServer or a RemoteServer."""

    version: int

    def start(self) -> None: ...
    def client(self, deadline: float) -> ModelClient: ...
    def lost(self, client: ModelClient, deadline: float) -> None: ...
    def close(self) -> None: ...


class Part(NamedTuple):
    """Instances that follow each other, and their outputs; or one, and why it has none."""

    size: int
    outputs: Arrays
    refused: RefusedError | None = None


class Caller:
    """May be used by several threads."""

    def __init__(
        self, location: str, timeout_s: float, signature_name: str | None = None, *, patient: bool = False
    ) -> None:
        """`location` is a folder or a tfserving:// URL; the model may take `timeout_s` seconds until it is AVAILABLE.

        Without a name the signature is serving_default, or the only one. `patient`: a call waits for a server of others
        that restarts, as long as it may take to start. Raises ModelError.
        """
        self._patient = patient
        self._signature_name = signature_name
        self._server = _server_of(location, timeout_s, patient)
        self._timeout_s = timeout_s
        self._signature: Signature | None = None

    def start(self) -> None:
        """Returns when the model is AVAILABLE. Raises ModelError, also when it is closed meanwhile."""
        self._server.start()
        try:
            self._signature = self._server.client(time.monotonic() + self._timeout_s).signature(self._signature_name)
        except UnreachableError as error:
            raise ModelError(str(error)) from None

    @property
    def signature(self) -> Signature:
        """What the model is called with."""
        assert self._signature is not None
        return self._signature

    @property
    def version(self) -> int:
        """The number of the model's version when it was opened."""
        return self._server.version

    def close(self) -> None:
        """End the process, if it is ours. Another thread may be in `start`."""
        self._server.close()

    def run(self, inputs: Arrays, count: int, deadline: float) -> list[Part]:
        """Outputs for `count` instances, in their order. Raises PredictionError, at the deadline if not before.

        The deadline is one on time.monotonic()'s clock.
        """
        if count > 1 and self.signature.batch == 1:
            return [part for i in range(count) for part in self.run(_slice(inputs, i, i + 1), 1, deadline)]
        try:
            return [Part(count, self.call(inputs, deadline))]
        except RefusedError as refused:
            if count == 1:
                return [Part(1, {}, refused)]
        half = count // 2
        first = self.run(_slice(inputs, 0, half), half, deadline)
        return first + self.run(_slice(inputs, half, count), count - half, deadline)

    def call(self, inputs: Arrays, deadline: float) -> Arrays:
        """One call for all, tried again where the server dies. Raises RefusedError, PredictionError."""
        problem = ""
        for _ in range(_TRIES):
            client = self._server.client(deadline)
            left = deadline - time.monotonic()
            if left <= 0:
                raise deadline_exceeded(f"the deadline passed before the TensorFlow server answered{problem}")
            try:
                return client.predict(self.signature, inputs, left)
            except UnreachableError as error:
                problem = f": {error}"
                self._server.lost(client, deadline)
            except ValueError as error:  # the channel was closed meanwhile: gRPC has no better exception for it
                problem = f": {error}"
            except PredictionError as error:
                if not self._patient or error.code != ErrorCode.NOT_FOUND:
                    raise
                problem = f": {error.message}"  # a server that starts has no model yet
                self._server.lost(client, deadline)
        if isinstance(self._server, RemoteServer):
            raise unavailable(f"the TensorFlow server cannot be reached{problem}", retry_after_ms=1000)
        raise internal(f"the TensorFlow process died {_TRIES} times at these instances{problem}")


def _server_of(location: str, timeout_s: float, patient: bool) -> Server:
    if is_url(location):
        return RemoteServer(parse_url(location), timeout_s, patient=patient)
    return ChildServer(Path(location), timeout_s)


def _slice(inputs: Arrays, begin: int, end: int) -> Arrays:
    return {name: array[begin:end] for name, array in inputs.items()}
