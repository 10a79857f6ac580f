"""A TensorFlow server as a child process: started, watched, started again when it dies, ended with its owner."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from typing import IO, TYPE_CHECKING

from process.supervision import Restarts
from server.errors import ModelError, unavailable
from server.tensorflow.client import ModelClient
from server.tensorflow.location import Address, newest_version
from server.tensorflow.model_server import HOST, MODEL_NAME
from server.tensorflow.protocol import protocol

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "tensorflow_model_server"

_END_S = 5.0
_POLL_S = 0.1
_LAST_LINES = 20
_LINE_CHARACTERS = 2000


class ChildServer:
    """tensorflow_model_server where that program is in PATH, else our own. May be used by several threads."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        """`timeout_s`: seconds that the process may take until the model is AVAILABLE, at first and after each death.

        Raises ModelError.
        """
        protocol()
        _, self.version = newest_version(folder)
        self._folder = folder
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._client: ModelClient | None = None
        self._problem = ""
        self._stderr: deque[str] = deque(maxlen=_LAST_LINES)
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Returns when the model is AVAILABLE. Raises ModelError, also when it is closed meanwhile."""
        self._start_process()
        self._watcher.start()

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last; 0: none has."""
        return self._process.pid if self._process else 0

    def client(self, deadline: float) -> ModelClient:
        """The client of calls, when there is a process. Raises UNAVAILABLE at the deadline, on time.monotonic()."""
        with self._changed:
            self._changed.wait_for(lambda: self._client or self._closing.is_set(), deadline - time.monotonic())
            if self._client is None:
                raise unavailable(f"the TensorFlow process is being started again{self._problem}", retry_after_ms=1000)
            return self._client

    def lost(self, client: ModelClient, deadline: float) -> None:
        """A call of the client found nobody: wait until its death is noticed, no longer than until the deadline."""
        with self._changed:
            left = min(_POLL_S * 5, deadline - time.monotonic())
            self._changed.wait_for(lambda: self._client is not client, left)

    def close(self) -> None:
        """End the process. Another thread may be in `start`."""
        with self._changed:
            self._closing.set()
            self._drop_client()
        self._end_process()
        if self._watcher.is_alive():
            self._watcher.join()

    def _start_process(self) -> None:
        """Start a process and wait until the model is AVAILABLE. Raises ModelError."""
        with self._changed:
            if self._closing.is_set():
                raise ModelError("it is being closed")
            self._process = process = self._spawn()
        try:
            client = self._connected(process)
        except BaseException:
            self._end_process()
            raise
        with self._changed:
            if self._closing.is_set():
                client.close()
                raise ModelError("it is being closed")
            self._client, self._problem = client, ""
            self._changed.notify_all()

    def _watch(self) -> None:
        """Start it again whenever it dies."""
        restarts = Restarts("the TensorFlow process")
        while self._process is not None:
            restarts.started()
            code = self._process.wait()
            with self._changed:
                self._drop_client()
            if self._closing.is_set():
                return
            self._end_process()
            if self._closing.wait(restarts.pause_s(code, last=self._last_lines())):
                return
            try:
                self._start_process()
            except ModelError as error:
                self._problem = f": {error}"

    def _drop_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._changed.notify_all()

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = shutil.which(PROGRAM)
        module = ["model_server"] if program is None else ["launcher", program]
        # -P: not from the current folder, which may hold a server.py of somebody else's.
        command = [sys.executable, "-P", "-m", f"server.tensorflow.{module[0]}", *module[1:], str(self._folder)]
        if program is None:
            command.append("--end-with-stdin")
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ
        # A session of its own: Ctrl-C in a terminal is for the server, which may still have calls to answer.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._stderr = deque(maxlen=_LAST_LINES)
        threading.Thread(target=_listen, args=(process.stderr, self._stderr), daemon=True).start()
        return process

    def _connected(self, process: subprocess.Popen[bytes]) -> ModelClient:
        """The client, when the model is AVAILABLE. Raises ModelError."""
        end = time.monotonic() + self._timeout_s
        address = self._read_address(process, end)
        client = ModelClient(Address(address, MODEL_NAME), through_proxies=False)
        try:
            client.wait_available(end - time.monotonic(), lambda: self._check(process), patient=True)
        except BaseException:
            client.close()
            raise
        return client

    def _read_address(self, process: subprocess.Popen[bytes], end: float) -> str:
        """What it prints once it listens. Raises ModelError."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not selector.select(_POLL_S):
                self._check(process)
                if time.monotonic() > end:
                    raise ModelError(f"the TensorFlow process did not start in {self._timeout_s:g} s")
        try:
            line = process.stdout.readline().decode().strip()
        except ValueError:  # another thread ended the process, and closed this
            line = ""
        if not line:
            process.wait(_END_S)
            self._check(process)
        return line if line.startswith("unix:") else f"{HOST}:{line}"

    def _check(self, process: subprocess.Popen[bytes]) -> None:
        if self._closing.is_set():
            raise ModelError("it is being closed")
        code = process.poll()
        if code is not None:
            raise ModelError(f"the TensorFlow process ended with exit code {code}: {self._last_lines()}")

    def _last_lines(self) -> str:
        """The last that it wrote to stderr."""
        return "\n".join(self._stderr)

    def _end_process(self) -> None:
        """The process is gone after it, and so are its pipes."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _listen(stderr: IO[bytes], lines: deque[str]) -> None:
    """Keep the last lines: most of what TensorFlow writes tells nobody anything, until it dies."""
    with stderr:
        for line in iter(lambda: stderr.readline(_LINE_CHARACTERS), b""):
            lines.append(line.decode(errors="replace").rstrip())
