"""The REST proxy as the server's child: real processes. What it answers is tested in tests/rest_proxy and tests/e2e."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from server.config import Settings
from server.proxy import child
from server.proxy.child import Proxy, ProxyError, _read_line, loopback
from tests.support.service import HOST, child_pids, eventually, free_port, http_request, is_listening, is_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def new_proxy(port: int = 0) -> Proxy:
    """In front of nothing."""
    return Proxy(Settings(host=HOST, rest_port=port, drain_timeout_ms=1000), free_port())


@pytest.fixture
def proxies() -> Callable[[], list[int]]:
    """Process ids of the children that this process has since the test began."""
    before = set(child_pids(os.getpid()))
    return lambda: [pid for pid in child_pids(os.getpid()) if pid not in before]


@contextlib.asynccontextmanager
async def running(port: int = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of nothing."""
    proxy = new_proxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(10)


async def alive(port: int) -> int:
    """The status of /healthz."""
    return (await asyncio.to_thread(http_request, port, "/healthz")).status


async def test_from_start_to_stop(proxies: Callable[[], list[int]]) -> None:
    async with running() as proxy:
        (pid,) = proxies()
        assert proxy.port > 0
        assert await alive(proxy.port) == 200
    assert not is_running(pid)
    assert not is_listening(proxy.port)


async def test_a_port_of_its_own() -> None:
    port = free_port()
    async with running(port) as proxy:
        assert proxy.port == port
        assert await alive(port) == 200


async def test_a_port_that_is_taken(proxies: Callable[[], list[int]], capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        proxy = new_proxy(port)
        with pytest.raises(ProxyError) as caught:
            await proxy.start()
    assert f"{HOST}:{port} (setting rest_port), exit code 1" in str(caught.value)
    assert str(port) in capfd.readouterr().err
    await proxy.stop(10)
    assert proxies() == []


async def test_it_is_started_again_when_it_dies(proxies: Callable[[], list[int]]) -> None:
    async with running() as proxy:
        port = proxy.port
        (first,) = proxies()
        proxy.kill()
        (second,) = await asyncio.to_thread(eventually, lambda: set(proxies()) - {first}, "there is another")
        await asyncio.to_thread(eventually, lambda: is_listening(port), "it listens on the port")
        assert await alive(port) == 200
    assert not is_running(second)


def test_one_that_dies_before_it_is_told_anything(
    proxies: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the server's own loop, whose pipes raise when they are written to then."""
    start = asyncio.create_subprocess_exec
    deaths = ["one", "another"]

    async def dies_at_once(*command: Any, **options: Any) -> Any:
        process = await start(*command, **options)
        if deaths:
            deaths.pop()
            process.kill()
            await process.wait()
            await asyncio.sleep(0.05)  # its pipes are closed by then
        return process

    async def scenario() -> None:
        async with running() as proxy:
            (first,) = proxies()
            monkeypatch.setattr(asyncio, "create_subprocess_exec", dies_at_once)
            proxy.kill()
            await asyncio.to_thread(eventually, lambda: not deaths, "it has died twice as it began")
            await asyncio.to_thread(eventually, lambda: set(proxies()) - {first}, "there is another")
            await asyncio.to_thread(eventually, lambda: is_listening(proxy.port), "it listens on the port")
            assert await alive(proxy.port) == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_it_is_tried_again_where_it_cannot_be_started(
    proxies: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As there are too many open files, say."""
    start = asyncio.create_subprocess_exec
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2

    async def fail_twice(*command: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await start(*command, **options)

    async with running() as proxy:
        (first,) = proxies()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_twice)
        proxy.kill()
        await asyncio.to_thread(eventually, lambda: set(proxies()) - {first}, "there is another")
        await asyncio.to_thread(eventually, lambda: is_listening(proxy.port), "it listens on the port")
        assert failures == []
        assert await alive(proxy.port) == 200


async def test_one_that_cannot_be_started_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_command: Any, **_options: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    with pytest.raises(ProxyError, match=r"could not be started: .*Too many open files"):
        await new_proxy().start()


async def test_one_that_hangs_is_killed_when_it_is_stopped(proxies: Callable[[], list[int]]) -> None:
    proxy = new_proxy()
    await proxy.start()
    (pid,) = proxies()
    os.kill(pid, signal.SIGSTOP)  # it cannot answer SIGTERM
    await proxy.stop(0.2)
    assert not is_running(pid)


async def test_one_that_hangs_is_replaced(proxies: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOOK_S", 0.05)
    monkeypatch.setattr(child, "ANSWER_S", 0.3)
    async with running() as proxy:
        (first,) = proxies()
        os.kill(first, signal.SIGSTOP)
        (second,) = await asyncio.to_thread(eventually, lambda: set(proxies()) - {first}, "there is another")
        assert not is_running(first)
        monkeypatch.setattr(child, "ANSWER_S", 60.0)
        await asyncio.to_thread(eventually, lambda: is_listening(proxy.port), "it listens on the port")
        assert await alive(proxy.port) == 200
        assert is_running(second)


async def test_it_serves_on_while_it_leaves(proxies: Callable[[], list[int]]) -> None:
    """Its delay is the server's; a second signal does not come."""
    proxy = Proxy(Settings(host=HOST, rest_port=0, drain_delay_ms=500, drain_timeout_ms=1000), free_port())
    await proxy.start()
    (pid,) = proxies()
    proxy.leave()

    def leaving() -> bool:
        answer = http_request(proxy.port, "/healthz")
        return answer.status == 200 and answer.headers.get("Connection") == "close"

    await asyncio.to_thread(eventually, leaving, "it closes connections after answers")
    assert http_request(proxy.port, "/readyz").status == 503
    await proxy.stop(10)
    assert not is_running(pid)


async def test_the_line_of_a_pipe() -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"8080\n")
    os.close(write_fd)
    assert await _read_line(read_fd) == b"8080\n"
    assert is_closed(read_fd)


async def test_a_pipe_that_is_closed_without_a_line() -> None:
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    assert await _read_line(read_fd) == b""
    assert is_closed(read_fd)


def is_closed(fd: int) -> bool:
    """Whether the descriptor is nobody's."""
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("localhost", "localhost"),
    ],
)
def test_where_a_server_is_reached(host: str, reached_at: str) -> None:
    assert loopback(host) == reached_at
