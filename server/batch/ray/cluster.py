"""A Ray cluster for jobs: one that runs already, or a new one on this machine."""

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

from server.batch.methods.local_executors import line_limit
from server.batch.ray.executor import RayExecutor
from server.batch.ray.worker import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.batch.state.control import Control
    from server.batch.state.job import JobRequest
    from server.config import Settings

_CONNECT_S = 10.0
_FOLDER = "ray-job-"  # short: there are sockets in it, whose paths have 107 bytes at most

# For a cluster of our own: a secret that is in no file, and no messages to Ray's makers.
_LOCAL = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}


class ClusterError(Exception):
    """There is no Ray, or no cluster; the message says what to do."""


class Cluster:
    """Ray, ready for jobs."""

    def __init__(self, ray: Any, settings: Settings, scratch: Path | None) -> None:
        self._ray = ray
        self._settings = settings.model_copy(update={"replicas": 1})  # a worker has one chunk at a time
        self._scratch = scratch
        self._workers = max(1, int(ray.cluster_resources().get("CPU", 1)) // settings.threads)

    @contextlib.contextmanager
    def open(self, request: JobRequest, _control: Control) -> Iterator[RayExecutor]:
        """For one job; the workers open the model when they get their first lines."""
        task = Task(uuid.uuid4().hex, self._settings, request, self._scratch)
        limit = line_limit(request, self._settings)
        yield RayExecutor(self._ray, task, limit, self._workers, self._settings.threads)


@contextlib.contextmanager
def open_cluster(settings: Settings, address: str | None = None, workers: int | None = None) -> Iterator[Cluster]:
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
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables, but for those that are set already, until the end of the block."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
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
        how = "`make setup-ray`, or `pip install ray`"
        raise ClusterError(f"--runner ray needs the package ray: {how} ({error})") from None
