"""Servers that are restarted one after the other under clients that go on asking, and count what fails."""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING

from tests.support.service import HOST, Service, eventually, free_port, http_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLIENTS = 16
_BEFORE = 100
"""Answers between two steps, so that each is seen by all clients."""


class Clients:
    """Closed-loop clients of /predict, each on a connection that it keeps while the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def go_on(self) -> None:
        """Wait until there have been some more answers."""
        before = self.answers
        eventually(lambda: self.answers > before + _BEFORE or self.failures, "there are answers")

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        with contextlib.closing(connection):
            while not self._end.is_set():
                try:
                    connection.request("GET", "/predict?doc=set+an+alarm")
                    response = connection.getresponse()
                    body = response.read()
                except (OSError, http.client.HTTPException) as error:
                    failure = repr(error)
                    connection.close()
                else:
                    failure = "" if response.status == 200 else f"{response.status} {body.decode()}"
                with self._lock:
                    self.answers += not failure
                    if failure:
                        self.failures.append(failure)


class Pair:
    """Two servers on ports that they keep when they are restarted."""

    def __init__(self, model: Path, *flags: str) -> None:
        self.ports = [(free_port(), free_port()) for _ in range(2)]
        self._command = (model, "--warm-up-tokens=0", *flags)
        self._services: list[Service] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Pair]:
        """Both run at the beginning of the block, and none at its end."""
        with contextlib.ExitStack() as stack:
            for index in range(2):
                self._services.append(self._service(index))
                self._services[index].__enter__()
                stack.push(lambda *error, index=index: self._services[index].__exit__(*error))  # type: ignore[misc]
            yield self

    def restart(self, index: int, serves: Callable[[int], bool]) -> None:
        """Stop one as Kubernetes does, and start it again; `serves` says whether it gets requests again."""
        self._services[index].__exit__(None, None, None)
        replacement = self._service(index)
        replacement.__enter__()
        self._services[index] = replacement
        eventually(lambda: serves(index), "it gets requests again")

    def _service(self, index: int) -> Service:
        port, rest_port = self.ports[index]
        return Service(*self._command, f"--port={port}", f"--rest-port={rest_port}")


def is_ready(rest_port: int) -> bool:
    """What /readyz says."""
    with contextlib.suppress(ConnectionRefusedError):
        return http_request(rest_port, "/readyz").status == 200
    return False
