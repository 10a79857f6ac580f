"""Two servers behind HAProxy with its default HTTP check are restarted, one after the other: no client notices.

Run by `make test-haproxy` and not by `make test`, because it needs HAProxy. On Debian: apt-get install haproxy.
"""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.rolling import CLIENTS, Clients, Pair
from tests.support.service import HOST, eventually, free_port, http_request, is_listening, program_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HOW = "apt-get install haproxy"

_CHECK_MS = 100
_DELAY_MS = 1500
"""Longer than the three checks in a row after which HAProxy sends nothing more (its default `fall`)."""


class Haproxy:
    """One in front of a pair's HTTP ports, with nothing set but the check, its interval and timeouts."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.port = free_port()
        self._admin = str(folder / "admin")
        servers = "".join(
            f"  server s{index} {HOST}:{port} check inter {_CHECK_MS}ms\n" for index, port in enumerate(ports)
        )
        path = folder / "haproxy.cfg"
        path.write_text(
            f"global\n  stats socket {self._admin} level admin\n"
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"listen predictor\n  bind {HOST}:{self.port}\n  option httpchk\n{servers}"
        )
        self.process = subprocess.Popen([program_path("haproxy", _HOW), "-q", "-db", "-f", str(path)])

    def is_up(self, index: int) -> bool:
        """Whether it sends requests to the server."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self._admin)
            admin.sendall(b"show servers state\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        states = {words[3]: words[5] for words in map(str.split, text.splitlines()) if len(words) > 5}
        return states[f"s{index}"] == "2"


@pytest.fixture
def pair(zoo: Callable[[str], Path]) -> Iterator[Pair]:
    """Of a small classifier."""
    with Pair(zoo("doc_model"), f"--drain-delay-ms={_DELAY_MS}").running() as running:
        yield running


@pytest.fixture
def haproxy(pair: Pair, tmp_path: Path) -> Iterator[Haproxy]:
    """In front of them, with both up."""
    it = Haproxy(tmp_path, [rest_port for _, rest_port in pair.ports])
    try:
        eventually(lambda: is_listening(it.port), "HAProxy listens")
        eventually(lambda: it.is_up(0) and it.is_up(1), "both servers are up")
        yield it
    finally:
        it.process.terminate()
        it.process.wait(30)


def test_a_rolling_restart(pair: Pair, haproxy: Haproxy) -> None:
    with Clients(haproxy.port) as clients:
        clients.go_on()
        for index in range(2):
            pair.restart(index, haproxy.is_up)
            clients.go_on()
    assert clients.failures == []
    assert clients.answers > 10 * CLIENTS


def test_the_check_is_answered_as_readyz_is(pair: Pair) -> None:
    for _, rest_port in pair.ports:
        assert http_request(rest_port, "/", "OPTIONS").status == 204
