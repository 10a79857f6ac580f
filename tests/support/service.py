"""The service's own command lines as child processes of a test, on free ports, ended by their process id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.server.transport.thrift_clients import BY_NAME, HOST, client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from predictor.ttypes import ModelStatus, ServerStatus

    from tests.server.transport.thrift_clients import Dialect

ROOT = Path(__file__).parents[2]
_START_S = 120  # generous: a busy machine with one core takes ten times as long as a free one
_STOP_S = 60
_SHOWN_LOG_LINES = 30
_READY = re.compile(r"Server running\. Thrift port: (\d+)(?:, REST port: (\d+))?\n")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Child:
    """`python -m MODULE ARGUMENTS...`, to be used in a with statement.

    At the end of the block it gets SIGTERM and must exit with 0, unless it has been ended before. When the block fails,
    the end of its log is added to the failure.
    """

    def __init__(self, module: str, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self._cwd = cwd
        self.command = [sys.executable, "-m", module, *map(str, arguments)]
        self._environment = environment(env)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="predictor-test-"))
        self._log_path = self._folder / "log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.started()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                error.add_note(self.end_of_log())
                self.process.kill()
            elif self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.communicate(timeout=_STOP_S)
            shutil.rmtree(self._folder)

    def started(self) -> None:
        """Called when the process runs."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it logged so far; a line that is no JSON is {"text": line}."""
        return [_log_entry(line) for line in self.log_text.splitlines()]

    @property
    def log_text(self) -> str:
        """What it wrote to stderr so far."""
        return self._log_path.read_text(errors="replace")

    def end_of_log(self) -> str:
        """For failure messages."""
        lines = self.log_text.splitlines()[-_SHOWN_LOG_LINES:]
        return "\n".join([f"end of the log of {' '.join(self.command[1:])}:", *lines])

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {_STOP_S} s; {self.end_of_log()}") from None

    def stop(self, exit_code: int = 0) -> None:
        """End it with SIGTERM; it must exit with `exit_code`."""
        self.signal()
        found = self.wait()
        assert found == exit_code, f"exit code {found}; {self.end_of_log()}"

    def rss_bytes(self) -> int:
        """Its resident memory (VmRSS in proc_pid_status(5))."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process has no memory: it has ended")

    def children(self) -> list[int]:
        """Process ids of its child processes."""
        return child_pids(self.pid)

    def read_stdout_line(self) -> str:
        """The next line on its stdout; empty when it ended without one."""
        stdout = self.process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(_START_S):
                raise AssertionError(f"nothing on stdout in {_START_S} s")
        return stdout.readline().decode()


class Service(Child):
    """`python -m server ARGUMENTS...`, ready at the beginning of the block unless `wait_ready` is false.

    Without ports in the arguments the system chooses them; `port` and `rest_port` (0 with --no-rest) say which.
    """

    def __init__(
        self,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        wait_ready: bool = True,
        cwd: Path = ROOT,
    ) -> None:
        super().__init__("server", "--port=0", "--rest-port=0", *arguments, env=env, cwd=cwd)
        self.port = 0
        self.rest_port = 0
        self._wait_ready = wait_ready

    def started(self) -> None:
        """Wait for the line that says that it serves."""
        if self._wait_ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when it has printed that it runs."""
        line = self.read_stdout_line()
        running = _READY.fullmatch(line)
        if running is None:
            raise AssertionError(f"no ready line but {line!r}, exit code {self.process.poll()}")
        self.port = int(running[1])
        self.rest_port = int(running[2] or 0)

    def client(
        self, dialect: Dialect = BY_NAME["framed-binary-accelerated"], timeout_s: float = 30
    ) -> contextlib.AbstractContextManager[Any]:
        """A client of our contract, connected."""
        return client(self.port, dialect, timeout_s=timeout_s)

    def status(self) -> ServerStatus:
        """The contract's `status`."""
        with self.client() as predictor:
            return predictor.status()

    def model_status(self) -> ModelStatus:
        """The status of its one model."""
        (model,) = self.status().models
        return model

    def http(self, path: str, **options: Any) -> Answer:
        """A request to its REST proxy; see `http_request`."""
        return http_request(self.rest_port, path, **options)


class RestProxy(Child):
    """`python -m rest_proxy` alone, in front of the Thrift servers at `ports`, ready at the beginning of the block."""

    def __init__(self, *ports: int, flags: tuple[str, ...] = ()) -> None:
        servers = ",".join(f"{HOST}:{port}" for port in ports)
        self.port = free_port()
        super().__init__("rest_proxy", f"--thrift={servers}", f"--port={self.port}", *flags)

    def started(self) -> None:
        """Wait until it answers."""
        eventually(self._alive, "the proxy listens", timeout_s=_START_S)

    def http(self, path: str, **options: Any) -> Answer:
        """See `http_request`."""
        return http_request(self.port, path, **options)

    def _alive(self) -> bool:
        assert self.process.poll() is None, "the proxy has ended"
        with contextlib.suppress(ConnectionRefusedError):
            return self.http("/healthz").status == 200
        return False


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the service, and with `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREDICTOR_")} | dict(more or {})


def run_server(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m server ARGUMENTS...` to its end, for command lines that are refused."""
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(env), capture_output=True, text=True, timeout=_START_S)


def http_request(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One HTTP request on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_STOP_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())


def curl(*arguments: str) -> str:
    """What the real curl prints."""
    program = program_path("curl", "apt-get install curl")
    done = subprocess.run([program, "-sS", *arguments], capture_output=True, text=True, timeout=_STOP_S)
    assert done.returncode == 0, f"curl failed: {done.stderr}"
    return done.stdout


def program_path(name: str, how_to_get_it: str) -> str:
    """Where a program is. A test that needs one fails without it."""
    path = shutil.which(name)
    assert path is not None, f"this test needs the program {name}: {how_to_get_it}"
    return path


def free_port() -> int:
    """A TCP port that nobody uses. It is none of those that the system gives to whoever asks for any, by itself."""
    while True:
        port = 16_384 + secrets.randbelow(16_384)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return port


def eventually(condition: Callable[[], Any], what: str = "what the test waits for", timeout_s: float = 120) -> Any:
    """The first true value of `condition()`, asked every 10 ms; fails when there is none in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def child_pids(pid: int) -> list[int]:
    """Process ids of a process's children, those of all its threads."""
    pids: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # of a thread that has just ended
            pids += map(int, tasks.read_text().split())
    return pids


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies aside."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def is_listening(port: int) -> bool:
    """Whether a connection to the port can be made."""
    with contextlib.suppress(ConnectionRefusedError), connected(port):
        return True
    return False


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A plain TCP connection, closed at the end of the block."""
    with socket.create_connection((HOST, port), timeout=_STOP_S) as connection:
        yield connection


def _log_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        entry = None
    return entry if isinstance(entry, dict) else {"text": line}
