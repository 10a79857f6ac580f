"""The process: it listens, tells its port, drains, and ends, as its command line promises."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rest_proxy.config import SETTINGS_ON_STDIN, Settings
from tests.support.service import eventually, is_listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rest_proxy.thrift_server import ThriftServer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen-py'}"}


class Process:
    """`python -m rest_proxy` with a pipe on which it tells its port."""

    def __init__(self, *arguments: str) -> None:
        readable, writable = os.pipe()
        command = [sys.executable, "-m", "rest_proxy", "--port", "0", "--ready-fd", str(writable), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.popen = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, pass_fds=[writable], text=True, **pipes)
        os.close(writable)
        with os.fdopen(readable) as ready:
            self.told = ready.read()
        self.port = int(self.told or 0)

    def ask(self, path: str, answers: list[bytes] | None = None) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            body: bytes = response.read()
        if answers is not None:
            answers.append(body)
        return body

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once it has ended by itself."""
        out, errors = self.popen.communicate(timeout=60)
        return self.popen.returncode, out, errors


@pytest.fixture
def new_process() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(*arguments: str) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield start
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate(timeout=60)


def events(errors: str) -> list[str]:
    """The events of a log that is one JSON object a line."""
    return [json.loads(line)["event"] for line in errors.splitlines()]


def test_it_tells_its_port_answers_and_ends_with_0(new_process: Callable[..., Process], server: ThriftServer) -> None:
    process = new_process("--thrift", str(server.address), "--access-log")
    assert process.told == f"{process.port}\n"
    assert process.ask("/?doc=x").startswith(b"Z\xc3\xbcrich:")
    process.popen.send_signal(signal.SIGTERM)
    code, out, errors = process.end()
    assert (code, out) == (0, "")
    assert events(errors) == ["listening", "request", "draining", "stopped"]
    request = json.loads(errors.splitlines()[1])
    assert (request["path"], request["status"], request["method"]) == ("/", 200, "GET")


def test_a_badly_made_form_is_not_printed(new_process: Callable[..., Process], server: ThriftServer) -> None:
    process = new_process("--thrift", str(server.address))
    form = b"--x\r\nContent-Disposition: form-data; name*=none'en'secret%ff\r\n\r\ntext\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{process.port}/embed", form, headers))
    process.popen.send_signal(signal.SIGTERM)
    assert events(process.end()[2]) == ["listening", "draining", "stopped"]


def test_sigterm_finishes_requests_in_progress(new_process: Callable[..., Process], server: ThriftServer) -> None:
    server.answer = server.hold
    process = new_process("--thrift", str(server.address))
    answers: list[bytes] = []
    asking = [threading.Thread(target=process.ask, args=(f"/?doc={n}", answers)) for n in range(4)]
    for thread in asking:
        thread.start()
    for _ in asking:
        assert server.held.acquire(timeout=60)
    process.popen.send_signal(signal.SIGTERM)
    eventually(lambda: not is_listening(process.port), "it listens no more")
    assert process.popen.poll() is None
    server.release.set()
    for thread in asking:
        thread.join(60)
    assert sorted(answers) == [b"0:1\n", b"1:1\n", b"2:1\n", b"3:1\n"]
    assert process.end()[:2] == (0, "")


def test_draining_has_a_limit(new_process: Callable[..., Process], server: ThriftServer) -> None:
    server.answer = server.hold
    process = new_process("--thrift", str(server.address), "--drain-timeout-ms", "200")
    with socket.create_connection(("127.0.0.1", process.port)) as client:
        client.sendall(b"GET /?doc=x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.held.acquire(timeout=60)
        started = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert process.end()[0] == 0
        assert 0.15 < time.monotonic() - started < 9  # by default it would be ten


def test_a_second_signal_ends_it_at_once(new_process: Callable[..., Process], server: ThriftServer) -> None:
    server.answer = server.hold
    process = new_process("--thrift", str(server.address), "--drain-timeout-ms", "600000")
    with socket.create_connection(("127.0.0.1", process.port)) as client:
        client.sendall(b"GET /?doc=x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.held.acquire(timeout=60)
        process.popen.send_signal(signal.SIGINT)
        eventually(lambda: not is_listening(process.port), "it listens no more")
        process.popen.send_signal(signal.SIGTERM)  # in the first second it is the same once more
        time.sleep(1.1)
        assert process.popen.poll() is None
        process.popen.send_signal(signal.SIGTERM)
        assert process.end()[0] == 0
        assert not server.release.is_set(), "the request is still in progress"


def test_it_ends_with_its_parent(server: ThriftServer) -> None:
    """The parent is a process between this one and the proxy, and is killed without a chance to tell anyone."""
    program = (
        "import subprocess, sys, time\n"
        "proxy = subprocess.Popen([sys.executable, '-m', 'rest_proxy', sys.argv[1]], stdin=subprocess.PIPE)\n"
        "proxy.stdin.write(sys.argv[2].encode() + b'\\n')\n"
        "proxy.stdin.flush()\n"
        "time.sleep(60)\n"
    )
    settings = Settings(thrift=(server.address,), port=0).model_dump_json()
    command = [sys.executable, "-c", program, SETTINGS_ON_STDIN, settings]
    parent = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    with parent.stderr as errors:
        for line in errors:
            if json.loads(line)["event"] == "listening":
                break
        parent.kill()
        parent.wait(60)
        rest = errors.read()  # to the end of the proxy, which holds the other end
    assert events(rest) == ["the parent process is gone", "draining", "stopped"]


def test_a_port_that_is_taken_is_said_and_ends_with_1(
    new_process: Callable[..., Process], server: ThriftServer
) -> None:
    process = new_process("--thrift", str(server.address), "--port", str(server.address.port))
    code, out, errors = process.end()
    assert (code, out, process.told) == (1, "", "")
    assert f"cannot serve on 127.0.0.1:{server.address.port}: " in errors
    assert "Traceback" not in errors


def test_a_wrong_setting_ends_with_2(new_process: Callable[..., Process]) -> None:
    code, _, errors = new_process("--thrift", "nowhere").end()
    assert code == 2
    assert "'nowhere' is not HOST:PORT" in errors


def test_it_lets_itself_open_as_many_sockets_as_its_settings_allow(
    new_process: Callable[..., Process], server: ThriftServer
) -> None:
    limits = ("--max-connections", "1000", "--connections", "7", "--max-generations", "30")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # inherited by the proxy
    try:
        process = new_process("--thrift", str(server.address), *limits)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE) == (1102, hard)
