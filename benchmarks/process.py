"""A server as a child process: started, watched through /proc, ended by its id.

A server may be many processes (workers, a proxy). All figures are sums over the tree: the child, its descendants, and
what else runs in the session that the child leads. Fields of /proc are described in proc_pid_stat(5).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
ROOT = Path(__file__).parent.parent
LOG_LINES_SHOWN = 20


class StartError(RuntimeError):
    """A server did not start; the message has the last lines of its log."""


@dataclass(frozen=True)
class Stat:
    """One process, from /proc/PID/stat. `cpu_s` counts the children it has waited for, in seconds."""

    pid: int
    parent: int
    session: int
    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True)
class Memory:
    """MiB of a tree. `rss` counts a page once for each process that maps it, `pss` shares it among them."""

    rss: float
    pss: float


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process any more."""
    try:
        # The command's name, in parentheses, may itself contain spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return Stat(pid, int(fields[1]), int(fields[3]), ticks / TICKS_PER_SECOND, int(fields[21]) * PAGE_BYTES)


def tree(root: int) -> list[Stat]:
    """The process `root`, its descendants, and the session it leads."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    stats = [stat for pid in pids if (stat := read_stat(pid))]
    members = {stat.pid for stat in stats if root in (stat.pid, stat.session)}
    while more := {stat.pid for stat in stats if stat.parent in members} - members:
        members |= more
    return [stat for stat in stats if stat.pid in members]


def cpu_seconds(root: int) -> float:
    """utime and stime of the tree since it began; ended processes count when their parent has waited for them."""
    return sum(stat.cpu_s for stat in tree(root))


def memory(root: int) -> Memory:
    """RSS and PSS of the tree now."""
    stats = tree(root)
    return Memory(sum(stat.rss_bytes for stat in stats) / MIB, sum(_pss_kib(stat.pid) for stat in stats) / 1024)


def _pss_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


class ServerProcess:
    """A server running as a child, in a session of its own; a context manager that ends it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = self._start(command, environment)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the first process; the others are its tree."""
        return self._process.pid

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float = 120) -> None:
        """Wait until `ready()` holds. Raises StartError when the server ends before, or takes longer."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process.poll() is not None:
                raise StartError(f"{self.name} ended with exit code {self._process.returncode}{self._log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} does not answer after {timeout_s:.0f} s{self._log_tail()}")
            time.sleep(0.1)

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return f"; the end of {self.log}:\n" + "\n".join(f"    {line}" for line in lines or ["(empty)"])

    def stop(self, patience_s: float = 20) -> None:
        """SIGTERM to the first process; once it has ended, or after `patience_s`, SIGKILL to the rest of the tree."""
        members = tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        for stat in members:
            left = read_stat(stat.pid)
            # An id that a stranger has got since then is in another session.
            if left is not None and left.session == stat.session and stat.pid != self.pid:
                os.kill(stat.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
