"""Starts the processes in which models are tried, keeps them within time and memory, and says how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from server.errors import ModelError, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings

log = structlog.get_logger()

AT_A_TIME = 2
"""Each takes a core, and memory for a model."""

_CHILD = "server.models.trial.child"
_RETRY_MS = 5000
_LOOK_S = 0.02
_KEPT_BYTES = 1 << 14  # of what it prints
_READ_BYTES = 1 << 16
_LONGEST_REASON = 300
_WHAT = re.compile(r"^\s*what\(\):\s*(.*)$", re.MULTILINE)
_NO_MEMORY = re.compile(r"bad_alloc|can't allocate memory|memory allocation of \d+ bytes failed|MemoryError")


class Tried(NamedTuple):
    """How a trial went well."""

    whole: bool
    """The model was loaded and has answered; False: it is data, whose weights were not read."""


class Trials:
    """Of one server. Any thread may ask for one, and waits for it."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.model_trial_s
        self._memory_bytes = settings.model_trial_bytes
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._places = AT_A_TIME
        self._stopped: str | None = None

    def run(self, location: str, settings: Settings, *, of_hub: bool = False) -> Tried:
        """Load what is at a location, and ask it something; of what is data, read all but the weights.

        `settings`: the model's. `of_hub`: a folder of which no program is run, as it came from a hub. Raises ModelError
        for what cannot be served, or ends the process or exceeds its limits; UNAVAILABLE when others are being tried,
        and when the server drains.
        """
        settings = settings.model_copy(update={"replicas": 1})
        given = {
            "location": location,
            "of_hub": of_hub,
            "seconds": self._seconds,
            "memory_bytes": self._memory_bytes if settings.device == "cpu" else None,
            "settings": settings.model_dump_json(),
        }
        with self._place(), self._process() as process:
            assert process.stdin is not None  # it stays open: the child ends with it
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(given).encode() + b"\n")
            seen = _Output(process)
            in_time = seen.wait(time.monotonic() + self._seconds)
            if self._stopped is not None:
                raise unavailable(self._stopped)
            if not in_time:
                raise ModelError(f"its trial did not end within {self._seconds:g} s (setting model_trial_s)")
            return self._result(seen, location)

    def stop(self, why: str) -> None:
        """End those that run, and refuse others: UNAVAILABLE says why."""
        self._stopped = why
        with self._lock:
            for process in self._running:
                _kill(process)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        with self._lock:
            if self._stopped is not None:
                raise unavailable(self._stopped)
            if self._places == 0:
                raise unavailable(f"{AT_A_TIME} other models are being tried before they are loaded", _RETRY_MS)
            self._places -= 1
        try:
            yield
        finally:
            with self._lock:
                self._places += 1

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-P", "-m", _CHILD]
        try:
            # a session of its own: what it starts is ended with it
            process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # no more processes or open files just now
            raise ModelError(f"no process to try it in could be started: {error.strerror or error}") from None
        with process:
            with self._lock:
                self._running.add(process)
            try:
                if self._stopped is None:  # else stop() may not have seen it
                    yield process
                else:
                    raise unavailable(self._stopped)
            finally:
                with self._lock:
                    self._running.discard(process)
                _kill(process)

    def _result(self, seen: _Output, location: str) -> Tried:
        answer = seen.answer()
        if answer is not None and "whole" in answer:
            return Tried(bool(answer["whole"]))
        printed = seen.printed()
        log.warning("a model's trial failed", location=location, exit_code=seen.exit_code, printed=printed)
        why = str(answer.get("error")) if answer is not None else _death(seen.exit_code, printed)
        if _NO_MEMORY.search(f"{why}\n{printed}" if answer is None else why):
            why += f"; in its trial it may take {self._memory_bytes} bytes of memory (setting model_trial_bytes)"
        raise ModelError(why)


class _Output:
    """What a child answers, and the end of what it prints."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.exit_code = 0
        self._pipes = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        self._answer, self._printed = self._pipes.values()
        for pipe in self._pipes:
            os.set_blocking(pipe, False)

    def wait(self, end: float) -> bool:
        """Whether it ended in time; `end` is on time.monotonic()'s clock."""
        with selectors.DefaultSelector() as selector:
            for pipe in self._pipes:
                selector.register(pipe, selectors.EVENT_READ)
            while not self._ended():
                if time.monotonic() >= end:
                    return False
                for key, _ in selector.select(_LOOK_S):
                    if not self._read(key.fd):
                        selector.unregister(key.fd)
                if not selector.get_map():
                    time.sleep(_LOOK_S)
        for pipe in self._pipes:  # what it wrote last
            while self._read(pipe):
                pass
        return True

    def answer(self) -> dict[str, object] | None:
        """None: there is none."""
        try:
            found = json.loads(self._answer)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def printed(self) -> str:
        """The end of it."""
        return self._printed.decode(errors="replace")

    def _ended(self) -> bool:
        """It is not waited for yet, so that its number stays its own until it is killed with what it started."""
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return False
        self.exit_code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return True

    def _read(self, pipe: int) -> bool:
        """Whether there may be more."""
        try:
            content = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        kept = self._pipes[pipe]
        kept += content
        del kept[:-_KEPT_BYTES]
        return bool(content)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _death(code: int, printed: str) -> str:
    """Why there is no answer."""
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    found = _WHAT.search(printed)
    lines = [found[1]] if found is not None else [line for line in printed.splitlines() if line.strip()][-1:]
    why = "".join(lines)[:_LONGEST_REASON]
    return f"it ends the process in which it is tried, {how}{': ' if why else ''}{why}"
