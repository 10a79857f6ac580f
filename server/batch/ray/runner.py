"""Jobs on a Ray cluster: chunks of lines are tasks there; reading, order, outputs and the store stay here.

A task that is lost with its worker is started again elsewhere, so a lost worker costs its chunk.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from server.batch.methods.methods import line_limit
from server.batch.pipeline.parts import Part
from server.batch.ray import worker as ray_worker
from server.batch.ray.worker import Block, Done, Task
from server.batch.state.job import NO_PREDICTIONS, JobError, RowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.batch.pipeline.lines import LineLimit, Lines
    from server.batch.state.control import Control
    from server.batch.state.job import JobRequest
    from server.config import Settings

_TASK_S = 2.0  # short enough to lose, long enough for Ray's millisecond of each task not to count
_FIRST_ROWS = 256
_ROWS = (16, 65_536)
_TASKS_PER_WORKER = 2  # one is done, one is there when it is
_TRIES = 4
_POLL_S = 0.05
_CONNECT_S = 10.0
_FOLDER = "ray-job-"  # short: there are sockets in it, whose paths have 107 bytes at most

# For a cluster of our own: a secret that is in no file, and no messages to Ray's makers.
_LOCAL = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}

log = structlog.get_logger()


class ClusterError(Exception):
    """There is no Ray, or no cluster; the message says what to do."""


class Cluster:
    """Ray, ready for work. `open` is for Runner."""

    def __init__(self, ray: Any, settings: Settings, scratch: Path | None) -> None:
        self._ray = ray
        self._settings = settings.model_copy(update={"replicas": 1})  # a worker has one block at a time
        self._scratch = scratch
        self._workers = max(1, int(ray.cluster_resources().get("CPU", 1)) // settings.threads)

    @contextlib.contextmanager
    def open(self, request: JobRequest, _control: Control) -> Iterator[RayWork]:
        """For one job; the workers open the model when they get their first lines."""
        task = Task(uuid.uuid4().hex, self._settings, request, self._scratch)
        limit = line_limit(request, self._settings)
        yield RayWork(self._ray, task, limit, self._workers, self._settings.threads)


@contextlib.contextmanager
def opened(settings: Settings, address: str | None = None, workers: int | None = None) -> Iterator[Cluster]:
    """The cluster at `address`, or a new one on this machine with so many workers (default: one for each core).

    For the main thread. Raises ClusterError.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    with contextlib.ExitStack() as exits:
        scratch = None
        if address is None:
            exits.enter_context(_environment(_LOCAL))
            _delete_leftovers()
            prefix = f"{_FOLDER}{os.getpid()}-"
            folder = exits.enter_context(tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True))
            scratch = Path(folder) / "models"
            options |= {"num_cpus": workers or len(os.sched_getaffinity(0)), "_temp_dir": folder}
        else:
            _check_listens(address)
        ray = _ray()  # only now, as it looks into the environment when it is imported
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address or "local", **options)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError, ...
            hint = "RAY_AUTH_MODE and RAY_AUTH_TOKEN must be those of the cluster, if it has them"
            raise ClusterError(f"no Ray cluster at {address or 'local'!r}: {error} ({hint})") from None
        exits.callback(ray.shutdown)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own leaves the job where it is
        yield Cluster(ray, settings, scratch)


class RayWork:
    """Work with the tasks of a cluster. How many lines a task gets follows from how long the last ones took."""

    chunk_bytes = 4 << 20

    def __init__(self, ray: Any, task: Task, line_limit: LineLimit, workers: int, cores: int) -> None:
        self.rows = _FIRST_ROWS
        self.line_limit = line_limit
        self.bytes_ahead = _TASKS_PER_WORKER * workers * self.chunk_bytes
        self.ray = ray
        self._ahead = _TASKS_PER_WORKER * workers
        self._task = ray.put(task)
        self._predict = ray.remote(num_cpus=cores, max_retries=0)(ray_worker.predict)

    @property
    def rows_ahead(self) -> int:
        """Enough for all workers."""
        return self._ahead * self.rows

    def start(self, lines: Lines) -> RayPart:
        """A task for the lines."""
        return RayPart(self, Block.of(lines))

    def submit(self, block: Any) -> Any:
        """A reference to the block's results to come."""
        return self._predict.remote(self._task, block)

    def note(self, done: Done) -> None:
        """Learn from what a task took."""
        if done.loading_s is not None:
            log.info("worker ready", pid=done.pid, seconds=round(done.loading_s, 3))
        least, most = _ROWS
        self.rows = min(most, max(least, int(done.rows * _TASK_S / max(done.seconds, 1e-3))))


class RayPart:
    """A task, which is started again when it is lost."""

    def __init__(self, work: RayWork, block: Block) -> None:
        self._work = work
        self._lines = f"lines {block.first} and on"
        self._block = work.ray.put(block)  # once, however often it is tried
        self._result = work.submit(self._block)
        self._tries = 1

    def wait(self, control: Control) -> Part:
        """The task's results. Raises JobError, StoppedError."""
        ray = self._work.ray
        while True:
            while not ray.wait([self._result], timeout=_POLL_S)[0]:
                control.check()
            try:
                done = ray.get(self._result)
                break
            except ray.exceptions.RayTaskError as error:
                raise JobError(f"{NO_PREDICTIONS}{self._lines}: {error}") from None
            except ray.exceptions.RayError as error:
                self._try_again(error)
        if not isinstance(done, Done):
            raise JobError(done.message)
        self._work.note(done)
        return Part(
            done.output, done.rows, [(number, RowError(code, message)) for number, code, message in done.errors]
        )

    def abandon(self) -> None:
        """End the task, in whatever way."""
        self._work.ray.cancel(self._result, force=True)

    def _try_again(self, error: Exception) -> None:
        why = str(error).strip().partition("\n")[0]
        if self._tries == _TRIES:
            raise JobError(f"{NO_PREDICTIONS}{self._lines}: lost with its worker {_TRIES} times: {why}")
        log.warning("a worker was lost; its lines go to another one", lines=self._lines, why=why)
        self._tries += 1
        self._result = self._work.submit(self._block)


def _delete_leftovers() -> None:
    """Delete the folders of killed processes. Their clusters end by themselves, within a minute or two."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        pid = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _check_listens(address: str) -> None:
    """Ray itself would try for minutes. Raises ClusterError."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(f"no Ray cluster at {address!r}: {error}") from None


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """These variables, but for those that are set already."""
    new = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        how = "`make setup-ray`, or pip install 'predictor-service[ray]'"
        raise ClusterError(f"--runner ray needs the package ray: {how} ({error})") from None
