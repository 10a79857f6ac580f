"""Connections are used again, calls are made again only where they cannot have run, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from predictor_client import (
    AsyncClient,
    CallTimeout,
    Client,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    FinishReason,
    InternalError,
    Overloaded,
    ProtocolError,
    Unavailable,
)
from tests.predictor_client import servers
from tests.predictor_client.servers import HOST, Scripted, scripted
from tests.support.service import Service, eventually, free_port, program_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.predictor_client.conftest import Asker
    from tests.predictor_client.servers import Behaviour


def test_a_connection_is_used_again(asker: Callable[..., Asker]) -> None:
    with scripted(servers.answers) as server:
        client = asker(server.address)
        for _ in range(5):
            assert client.predict("x") == {"a": 1.0}
        assert len(server.connections) == 1


def test_an_error_of_the_server_leaves_the_connection(asker: Callable[..., Asker]) -> None:
    with scripted(servers.INTERNAL, servers.answers) as server:
        client = asker(server.address)
        with pytest.raises(InternalError):
            client.predict("x")
        client.predict("x")
        assert len(server.connections) == 1


def test_an_idle_connection_that_the_server_has_closed_is_not_used(asker: Callable[..., Asker]) -> None:
    with scripted(servers.answers) as server:
        client = asker(server.address, retries=0)
        client.predict("x")
        server.connections[0].shutdown(socket.SHUT_RDWR)
        for _ in range(3):  # the loop has to see it
            client.done(asyncio.sleep(0.01) if isinstance(client.client, AsyncClient) else None)
        assert client.predict("x") == {"a": 1.0}
        assert (server.calls, len(server.connections)) == (2, 2)


@pytest.mark.parametrize("behaviour", [servers.OVERLOADED, servers.UNAVAILABLE])
def test_a_call_that_did_not_run_is_made_again(asker: Callable[..., Asker], behaviour: Behaviour) -> None:
    with scripted(behaviour, behaviour, servers.answers) as server:
        assert asker(server.address).predict("x") == {"a": 1.0}
        assert server.calls == 3


@pytest.mark.parametrize(("behaviour", "error"), [(servers.OVERLOADED, Overloaded), (servers.UNAVAILABLE, Unavailable)])
def test_not_for_ever(asker: Callable[..., Asker], behaviour: Behaviour, error: type[Exception]) -> None:
    with scripted(behaviour) as server:
        with pytest.raises(error):
            asker(server.address, retries=1).predict("x")
        assert server.calls == 2


def test_not_after_the_deadline(asker: Callable[..., Asker]) -> None:
    with scripted(servers.fails(4, 60_000)) as server:
        with pytest.raises(Overloaded) as refused:
            asker(server.address, timeout=2).predict("x")
        assert (server.calls, refused.value.retry_after) == (1, 60)


@pytest.mark.parametrize("behaviour", [servers.hangs_up, servers.answers_half])
def test_a_call_that_may_have_run_is_not_made_again(asker: Callable[..., Asker], behaviour: Behaviour) -> None:
    with scripted(behaviour, servers.answers) as server:
        client = asker(server.address)
        with pytest.raises(ConnectionLost):
            client.predict("x")
        assert server.calls == 1
        assert client.predict("x") == {"a": 1.0}


def test_unless_its_caller_says_that_this_does_no_harm(asker: Callable[..., Asker]) -> None:
    with scripted(servers.hangs_up, servers.answers) as server:
        assert asker(server.address, idempotent=True).predict("x") == {"a": 1.0}
        assert server.calls == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.submit_batch("embed", "a", "b"),
        lambda client: client.load_model("a", "b"),
        lambda client: client.unload_model("a"),
    ],
)
def test_and_never_what_would_be_done_twice(asker: Callable[..., Asker], call: Callable[[Any], Any]) -> None:
    with scripted(servers.hangs_up) as server:
        with pytest.raises(ConnectionLost):
            call(asker(server.address, idempotent=True))
        assert server.calls == 1


def test_a_server_that_is_not_there_yet(asker: Callable[..., Asker]) -> None:
    port = free_port()
    with pytest.raises(ConnectFailed, match=f"{HOST}:{port}"):
        asker(f"{HOST}:{port}", retries=0).predict("x")
    client, started = asker(f"{HOST}:{port}", retries=20), []
    thread = threading.Timer(0.1, lambda: started.append(Scripted(servers.answers, port=port)))
    thread.start()
    try:
        assert client.predict("x") == {"a": 1.0}
    finally:
        thread.join()
        started[0].close()


@pytest.mark.parametrize("behaviour", [servers.answers_another, servers.speaks_http, servers.says_less])
def test_what_is_no_answer(asker: Callable[..., Asker], behaviour: Behaviour) -> None:
    with scripted(behaviour, servers.answers) as server:
        client = asker(server.address, idempotent=True)
        with pytest.raises(ProtocolError):
            client.predict("x")
        assert client.predict("x") == {"a": 1.0}
        assert len(server.connections) == 2


def test_a_unix_socket(asker: Callable[..., Asker], tmp_path: Path) -> None:
    path = tmp_path / "predictor.sock"
    with pytest.raises(ConnectFailed, match=f"unix:{path}"):
        asker(f"unix:{path}", retries=0).predict("x")
    server = Scripted(servers.answers, path=path)
    try:
        client = asker(f"unix:{path}", token="secret")
        for _ in range(2):
            assert client.predict("x") == {"a": 1.0}
        assert len(server.connections) == 1
        assert server.lines == [b"Bearer secret\n"]
    finally:
        server.close()


def test_a_unix_socket_has_no_tls(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tls is for a host's port"):
        Client(f"unix:{tmp_path}/predictor.sock", tls=True)


def test_a_server_that_does_not_answer(asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("asynchronous", "blocking"):
        monkeypatch.setattr(f"predictor_client.{module}.connections.GRACE_S", 0.05)
    with scripted(servers.is_silent, servers.answers) as server:
        client = asker(server.address, timeout=0.05)
        with pytest.raises(CallTimeout) as late:
            client.predict("x")
        assert isinstance(late.value, TimeoutError)
        assert client.predict("x", timeout=60) == {"a": 1.0}
        assert len(server.connections) == 2


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1"])
def test_times_that_there_are_not(asker: Callable[..., Asker], timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout is a number of seconds over 0"):
        asker("localhost").predict("x", timeout=timeout)


@pytest.mark.parametrize("address", ["", "a:b", "a:70000", "http://a", "a/b", "user@a", ":9090", "unix:"])
def test_addresses_that_there_are_not(address: str) -> None:
    with pytest.raises(ValueError, match="is no address such as"):
        Client(address)


@pytest.mark.parametrize("options", [{"connections": 0}, {"retries": -1}, {"connect_timeout": 0.0}])
def test_limits_that_there_are_not(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Client(**options)


def test_an_answer_that_is_too_large(asker: Callable[..., Asker]) -> None:
    with scripted(servers.answers) as server, pytest.raises(ProtocolError, match="max_answer_bytes = 10"):
        asker(server.address, max_answer_bytes=10).predict("x")


def test_threads_share_the_connections() -> None:
    with scripted(servers.answers) as server, Client(server.address, connections=2) as client:
        threads = [threading.Thread(target=lambda: [client.predict("x") for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.calls == 160
        assert len(server.connections) <= 2


async def test_tasks_share_the_connections() -> None:
    with scripted(servers.answers) as server:
        async with AsyncClient(server.address, connections=2) as client:
            assert await asyncio.gather(*(client.predict("x") for _ in range(40))) == [{"a": 1.0}] * 40
        assert len(server.connections) <= 2


async def test_a_task_that_is_cancelled_closes_its_connection() -> None:
    with scripted(servers.is_silent) as server:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.predict("x"))
            await asyncio.to_thread(eventually, lambda: server.calls)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(eventually, lambda: server.connections[0].fileno() < 0)


def test_no_connection_is_free_until_the_deadline() -> None:
    with (
        scripted(servers.is_silent) as server,
        Client(server.address, connections=1) as client,
        ThreadPoolExecutor(1) as executor,
    ):
        first = executor.submit(client.predict, "x")
        eventually(lambda: server.calls)
        with pytest.raises(CallTimeout, match="all 1 connections were in use"):
            client.predict("y", timeout=0.01)
        server.connections[0].shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionLost):
            first.result()


def test_a_closed_client_makes_no_calls(asker: Callable[..., Asker]) -> None:
    with scripted(servers.answers) as server:
        client = asker(server.address)
        client.predict("x")
        client.end() if isinstance(client.client, Client) else client.done(client.client.aclose())
        with pytest.raises(RuntimeError, match="the client is closed"):
            client.predict("x")


def test_a_forked_child_has_connections_of_its_own() -> None:
    program = (
        "import os, sys\n"
        "from predictor_client import Client\n"
        "client = Client(sys.argv[1])\n"
        "client.predict('x')\n"
        "pid = os.fork()\n"
        "assert client.predict('x') == {'a': 1.0}\n"
        "sys.exit(0) if pid == 0 else sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    with scripted(servers.answers) as server:
        subprocess.run([sys.executable, "-c", program, server.address], check=True, timeout=60)
        assert (server.calls, len(server.connections)) == (3, 2)


def test_a_connection_begins_with_the_token(asker: Callable[..., Asker]) -> None:
    with scripted(servers.answers) as server:
        client = asker(server.address, token="secret")
        client.predict("x")
        client.predict("x")
        assert server.lines == [b"Bearer secret\n"]
        assert "secret" not in repr(client.client._policy)


@pytest.mark.parametrize("token", ["", "a\nb", "a\x00"])
def test_tokens_that_there_are_not(token: str) -> None:
    with pytest.raises(ValueError, match="a token is not empty"):
        Client(token=token)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    openssl = program_path("openssl", "apt-get install openssl")
    files = ["-keyout", folder / "key", "-out", folder / "certificate"]
    about = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([openssl, "req", "-x509", *kind, "-nodes", *files, *about], check=True, capture_output=True)
    return folder


def test_encrypted_connections(asker: Callable[..., Asker], certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate", certificate / "key")
    trusting = ssl.create_default_context(cafile=certificate / "certificate")
    with scripted(servers.answers, tls=context) as server:
        address = server.address.replace(HOST, "localhost")
        client = asker(address, tls=trusting, token="secret")
        assert client.predict("x") == client.predict("x") == {"a": 1.0}
        assert server.lines == [b"Bearer secret\n"]
        assert len(server.connections) == 1
        with pytest.raises(ConnectFailed, match="certificate verify failed"):
            asker(address, tls=True, retries=0).predict("x")


@pytest.mark.slow
def test_the_server_ends_a_call_at_its_deadline(
    served: Service, asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("asynchronous", "blocking"):
        monkeypatch.setattr(f"predictor_client.{module}.connections.GRACE_S", 60)
    client = asker(f"{HOST}:{served.port}")
    client.status()  # so that there is a connection
    with pytest.raises(DeadlineExceeded) as late:
        client.predict_batch(["the harbour is small " * 20] * 2000, model="topics", timeout=0.005)
    assert isinstance(late.value, TimeoutError)


@pytest.mark.slow
def test_a_text_ends_at_its_deadline_with_what_there_is(slow_generator: Path, asker: Callable[..., Asker]) -> None:
    with Service(slow_generator, "--no-rest") as running:
        client = asker(f"{HOST}:{running.port}")
        stream = client.client.generate_stream("a", max_tokens=900, ignore_eos=True, timeout=0.3)
        chunks = client.chunks(stream)
    assert stream.finish_reason == FinishReason.DEADLINE
    assert stream.text == "".join(chunk.text for chunk in chunks) != ""
