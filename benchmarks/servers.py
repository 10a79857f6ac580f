"""The servers that are compared: how each is started, and where it answers.

Ours runs as `make run` starts it. All others get what helped them when tried: one torch thread a worker, and glibc
allocator thresholds that keep a large batch's memory instead of giving it back and mapping it anew each time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.endpoints import BatchCount, mosec_batches, status_batches
from benchmarks.peers.environment import python_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"

#: mallopt(3): 1 GiB from which on a block is mapped alone, 1 GiB free at the top before it is given back.
TUNED: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Endpoint:
    """One way to ask a server.

    `port` is the index among the server's ports, `method` is the contract's, `field` is that of a JSON body.
    """

    label: str
    protocol: str
    path: str = "/"
    port: int = 0
    method: str = "predict"
    field: str = "doc"


@dataclass(frozen=True)
class Server:
    """One server. `command` gets the model's path and as many free ports as `ports` says."""

    name: str
    command: Callable[[Path, list[int]], list[str]]
    endpoints: tuple[Endpoint, ...]
    environment: Callable[[Path], Mapping[str, str]] = field(default=lambda _model: TUNED)
    ports: int = 1
    batches: Callable[[int], BatchCount] | None = None


def _ours(model: Path, ports: list[int]) -> list[str]:
    options = ("--host", "127.0.0.1", "--port", str(ports[0]), "--rest-port", str(ports[1]))
    return [sys.executable, "-m", "server", str(model), *options]


def _apache(model: Path, ports: list[int]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.apache_server", str(model), str(ports[0])]


def _mosec_command(_model: Path, ports: list[int]) -> list[str]:
    options = ("--address", "127.0.0.1", "--port", str(ports[0]), "--log-level", "warning")
    return [str(python_of("mosec")), str(PEERS / "mosec_server.py"), *options]


def _litserve_command(_model: Path, ports: list[int]) -> list[str]:
    return [str(python_of("litserve")), str(PEERS / "litserve_server.py"), str(ports[0])]


def _settings(**settings: object) -> Callable[[Path], Mapping[str, str]]:
    return lambda model: {**TUNED, "MODEL_PATH": str(model), **{name: str(value) for name, value in settings.items()}}


def _mosec(batch: int) -> Server:
    return Server(
        f"mosec-{batch}",
        _mosec_command,
        (Endpoint(f"mosec, batch {batch}", "http-json", "/inference"),),
        _settings(BATCH=batch, WAIT_MS=1, WORKERS=2),
        batches=mosec_batches,
    )


OURS = Server(
    "ours",
    _ours,
    (
        Endpoint("ours, Thrift", "thrift"),
        Endpoint("ours, HTTP", "http-json", "/predict", port=1),
        Endpoint("ours, HTTP GET", "http-get", port=1),
    ),
    environment=lambda _model: {},
    ports=2,
    batches=status_batches,
)
APACHE = Server("apache", _apache, (Endpoint("Apache TThreadedServer", "thrift"),))
MOSEC = (_mosec(32), _mosec(16), _mosec(8))
LITSERVE = Server(
    "litserve",
    _litserve_command,
    (Endpoint("LitServe", "http-json", "/predict"),),
    _settings(BATCH=16, WAIT_MS=2, WORKERS=1, API_SERVERS=2),
)

OWN_SERVERS = (OURS, APACHE)
PEER_SERVERS = (*MOSEC, LITSERVE)
