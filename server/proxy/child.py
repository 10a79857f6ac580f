"""The REST proxy as a child process: started, watched, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog

from process.supervision import Restarts, kept_up
from rest_proxy.config import SETTINGS_ON_STDIN, UNIX, parse_address

if TYPE_CHECKING:
    from server.config import Settings

log = structlog.get_logger()

_START_S = 30
_LINE_BYTES = 16
_FIRST_PAUSE_S = 0.2

LOOK_S = 2.0
"""Seconds between two looks at whether it answers."""

ANSWER_S = 5.0
"""Seconds that it has for an answer."""

LOOKS = 3
"""So many looks in a row without an answer: it hangs."""


class ProxyError(Exception):
    """The proxy could not be started; the message says why."""


class Proxy:
    """`python -m rest_proxy` in front of the Thrift server at `thrift_port`."""

    def __init__(self, settings: Settings, thrift_port: int) -> None:
        if settings.proxy_protocol:  # the port takes nobody who does not come through a load balancer
            thrift = parse_address(f"{UNIX}{settings.unix_socket}")
        else:
            thrift = parse_address(f"{loopback(settings.host)}:{thrift_port}")
        self._settings = settings.of_proxy(thrift)
        self.port = self._settings.port
        self._process: asyncio.subprocess.Process | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self._told_to_end = False
        self._is_up = False

    async def start(self) -> None:
        """Returns when it listens; `port` is the real one then. Raises ProxyError."""
        try:
            await self._spawn()
        except OSError as error:
            raise ProxyError(f"the REST proxy could not be started: {error}") from None
        self._watchers = [
            asyncio.create_task(kept_up("watching over the REST proxy", work))
            for work in (self._watch, self._look_after)
        ]

    @property
    def url(self) -> str:
        """Where this machine finds it."""
        return f"http://{loopback(self._settings.host)}:{self.port}/"

    def leave(self) -> None:
        """Let it end by itself: after its drain_delay_ms, which is the server's."""
        self._tell(signal.SIGTERM)

    async def stop(self, timeout_s: float) -> None:
        """Let it finish its requests, for `timeout_s` seconds at most."""
        self._tell(signal.SIGINT)  # without a delay
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            log.warning("the REST proxy did not finish in time")
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _tell(self, number: int) -> None:
        """Send it a signal, once."""
        for watcher in self._watchers:
            watcher.cancel()
        if self._process is not None and self._process.returncode is None and not self._told_to_end:
            self._told_to_end = True
            self._process.send_signal(number)

    async def _spawn(self) -> None:
        self._is_up = False
        read_fd, write_fd = os.pipe()
        settings = self._settings.model_copy(update={"port": self.port, "ready_fd": write_fd})
        # -P: not from the current folder, which may hold a rest_proxy.py of somebody else's.
        command = [sys.executable, "-P", "-m", "rest_proxy", SETTINGS_ON_STDIN]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[write_fd], stdin=asyncio.subprocess.PIPE, start_new_session=True
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        stdin = self._process.stdin  # it stays open: the proxy ends with it
        assert stdin is not None
        if not stdin.is_closing():  # else it has died already, which the other pipe tells
            stdin.write(settings.model_dump_json().encode() + b"\n")
        port = await _read_line(read_fd)
        if not port:
            self.kill()  # it may hang, or be slower than it is given time
            code = await self._process.wait()
            where = f"{settings.host}:{settings.port} (setting rest_port)"
            raise ProxyError(f"the REST proxy did not start on {where}, exit code {code}; its log is above")
        self.port = int(port)
        self._is_up = True

    async def _watch(self) -> None:
        restarts = Restarts("the REST proxy", first_s=_FIRST_PAUSE_S)
        while self._process is not None:
            restarts.started()
            code = await self._process.wait()  # at once where no new one could be started
            self._is_up = False
            await asyncio.sleep(restarts.pause_s(code))
            try:
                await self._spawn()
            except ProxyError:  # its log says why
                pass
            except OSError as error:  # no more processes or open files just now
                log.error("the REST proxy could not be started", error=str(error))

    async def _look_after(self) -> None:
        """End one that hangs, so that another is started in its place."""
        silent = 0
        while True:
            await asyncio.sleep(LOOK_S)
            silent = 0 if not self._is_up or await self._answers() else silent + 1
            if silent == LOOKS:
                log.error("the REST proxy hangs and is ended", silent_looks=silent, seconds_a_look=ANSWER_S)
                silent = 0
                self._is_up = False
                self.kill()

    async def _answers(self) -> bool:
        """Whether it answers anything at all."""
        host = loopback(self._settings.host).strip("[]")
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(host, self.port)
                try:
                    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                    return bool(await reader.read(1))
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return False


async def _read_line(fd: int) -> bytes:
    """The line that a pipe brings; empty when it was closed without one, or nothing came in time. Closes `fd`.

    So short a line comes in one piece. The loop's own pipe transport is no good here: it closes the descriptor a pass
    later than the file object does, and by then the number may be a new connection's.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), _START_S)
        return os.read(fd, _LINE_BYTES)
    except TimeoutError:
        return b""
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def loopback(host: str) -> str:
    """Where this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
