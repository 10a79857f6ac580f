"""Where the server listens, and what comes through a load balancer: unix sockets, both families, the PROXY protocol."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import thriftpy2
from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport
from thriftpy2.rpc import make_client

from tests.support.service import ROOT, Service, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXT = "set an alarm"


@pytest.fixture(scope="module", params=["inside", "proxy"])
def service(
    zoo: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Service, Path]]:
    """Behind a load balancer, on every interface, and at a unix socket."""
    path = tmp_path_factory.mktemp("socket") / "thrift"
    flags = ("--host=::", "--insecure", f"--unix-socket={path}", "--proxy-protocol", f"--http={request.param}")
    with Service(zoo("doc_model"), *flags) as running:
        yield running, path


class ProxiedSocket(TSocket):  # type: ignore[misc]  # the thrift package has no annotations
    """Begins as HAProxy's connections do with send-proxy."""

    def open(self) -> None:
        """See TTransport."""
        super().open()
        self.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 9090\r\n")


def answer(transport: Any) -> dict[str, float]:
    with contextlib.closing(transport):
        transport.open()
        scores: dict[str, float] = Predictor.Client(TBinaryProtocol(transport)).predict(TEXT, None)
        return scores


def test_each_way_in_is_the_same_server(service: tuple[Service, Path]) -> None:
    running, path = service
    expected = answer(TBufferedTransport(TSocket(unix_socket=str(path))))
    assert len(expected) == 3
    for host in ("127.0.0.1", "::1"):
        assert answer(TFramedTransport(ProxiedSocket(host, running.port))) == expected
        with socket.create_connection((host, running.rest_port), 60) as connection:
            connection.sendall(b"GET /predict?doc=set+an+alarm HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.0 200"


def test_thriftpy2_at_the_unix_socket(service: tuple[Service, Path]) -> None:
    _, path = service
    contract = thriftpy2.load(str(ROOT / "predictor.thrift"), module_name="predictor_at_socket_thrift")
    with contextlib.closing(make_client(contract.Predictor, unix_socket=str(path), timeout=30_000)) as it:
        assert len(it.predict(TEXT, None)) == 3


def test_the_proxy_needs_a_way_in_of_its_own(zoo: Callable[[str], Path]) -> None:
    done = run_server(zoo("doc_model"), "--proxy-protocol", "--http=proxy")
    assert done.returncode == 2
    assert "unix_socket" in done.stderr


def test_a_unix_socket_that_cannot_be_had(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    done = run_server(zoo("doc_model"), "--port=0", "--http=off", f"--unix-socket={tmp_path}/no/folder")
    assert done.returncode == 1
    assert f"cannot listen on {tmp_path}/no/folder (setting unix_socket): No such file" in done.stderr
