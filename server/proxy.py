"""The REST proxy as a child process: started, watched, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import NamedTuple

import structlog

log = structlog.get_logger()

_START_S = 30
_LINE_BYTES = 16
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class ProxyError(Exception):
    """The proxy could not be started; the message says why."""


class ProxyLimits(NamedTuple):
    """The proxy's settings that follow from the server's."""

    max_body_bytes: int
    max_timeout_ms: int
    drain_timeout_ms: int


class Proxy:
    """`python -m rest_proxy` in front of the Thrift server at `thrift_port`."""

    def __init__(self, host: str, port: int, thrift_port: int, limits: ProxyLimits) -> None:
        self._host = host
        self.port = port
        self._thrift = f"{_loopback(host)}:{thrift_port}"
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it listens; `port` is the real one then. Raises ProxyError."""
        try:
            await self._spawn()
        except OSError as error:
            raise ProxyError(f"the REST proxy could not be started: {error}") from None
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self, timeout_s: float) -> None:
        """Let it finish its requests, for `timeout_s` seconds at most."""
        if self._watcher is not None:
            self._watcher.cancel()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
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

    async def _spawn(self) -> None:
        read_fd, write_fd = os.pipe()
        options = {
            "thrift": self._thrift,
            "host": self._host,
            "port": self.port,
            "ready_fd": write_fd,
            "parent_pid": os.getpid(),
            **self._limits._asdict(),
        }
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        # -P: not from the current folder, which may hold a rest_proxy.py of somebody else's.
        command = [sys.executable, "-P", "-m", "rest_proxy", *flags]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[write_fd], stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        port = await _read_line(read_fd)
        if not port:
            self.kill()  # it may hang, or be slower than it is given time
            code = await self._process.wait()
            where = f"{self._host}:{self.port} (setting rest_port)"
            raise ProxyError(f"the REST proxy did not start on {where}, exit code {code}; its log is above")
        self.port = int(port)

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while self._process is not None:
            started = loop.time()
            code = await self._process.wait()  # at once where no new one could be started
            if loop.time() - started > _LONGEST_PAUSE_S:
                pause = _FIRST_PAUSE_S
            log.error("the REST proxy died and is started again", exit_code=code, pause_s=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            try:
                await self._spawn()
            except ProxyError:  # its log says why
                pass
            except OSError as error:  # no more processes or open files just now
                log.error("the REST proxy could not be started", error=str(error), pause_s=pause)


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


def _loopback(host: str) -> str:
    """Where this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
