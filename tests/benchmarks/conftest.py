"""Real servers for the load generator, ended by the test that started them."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from benchmarks.endpoints import HOST, free_port
from benchmarks.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, int]]]:
    """Starts a responder of a kind; gives its port and its process id."""
    with ExitStack() as stack:

        def start(kind: str) -> tuple[int, int]:
            port = free_port()
            command = [sys.executable, "-m", "tests.benchmarks.responder", kind, str(port)]
            process = stack.enter_context(ServerProcess(kind, command, {}, tmp_path / f"{kind}.log"))
            process.wait_ready(lambda: listens(port), timeout_s=120)
            return port, process.pid

        yield start
