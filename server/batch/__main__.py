"""The command line: python -m server.batch --model LOCATION --input LOCATION --output LOCATION."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.ttypes import BatchState

from process import logs
from process.command_line import SettingError, load
from server.batch.command_line.arguments import MODEL_NAME, parse_arguments
from server.batch.command_line.progress_bar import show_progress
from server.batch.methods.local_executors import LocalExecutors
from server.batch.methods.local_models import load_models
from server.batch.ray.cluster import ClusterError, open_cluster
from server.batch.runner import Runner, delete_leftovers
from server.batch.state.control import Control
from server.batch.state.errors import JobError, StoppedError
from server.batch.state.job import ACTIVE
from server.batch.state.job_store import JobStore, StoreError
from server.batch.storage.access import Storage
from server.batch.storage.errors import LocationError
from server.batch.storage.overlap import check_apart
from server.batch.storage.own_files import OwnFile
from server.config import COMMAND, Settings
from server.hub.location import is_hub
from server.models.options import without_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.batch.command_line.arguments import Options
    from server.batch.runner import OpenExecutor
    from server.batch.state.job import Job

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def run(options: Options, settings: Settings, control: Control) -> Job:
    """Run the job until it has ended or is stopped; the job then.

    Raises JobError, StoreError, LocationError, ClusterError.
    """
    own = [OwnFile(options.state, "--state", neighbours=True)]
    if options.model is not None:
        own.append(OwnFile(Path(without_options(options.model)), "--model", readable=True))
    storage = Storage.without_limits(own=own)
    storage.check(options.request.input, "read")
    storage.check(options.request.output, "write")
    check_apart(options.request.input, options.request.output)
    with contextlib.closing(JobStore(options.state)) as store:
        job_id = _job_of(store, storage, options)
        with contextlib.suppress(StoppedError), _executors(options, settings, storage, control) as open_executor:
            runner = Runner(store, storage, open_executor)
            thread = threading.Thread(target=runner.run, args=(job_id, control), name="job")
            thread.start()
            show_progress(store, job_id, control, thread)
            thread.join()
        return store.job(job_id)


@contextlib.contextmanager
def _executors(options: Options, settings: Settings, storage: Storage, control: Control) -> Iterator[OpenExecutor]:
    """What the job runs on. Raises StoppedError while it loads a model."""
    if options.runner == "ray":
        with open_cluster(settings, options.address, options.workers) as cluster:
            yield cluster.open
    else:
        with load_models(settings, control) as models:
            yield LocalExecutors(models, storage, settings).open


def _job_of(store: JobStore, storage: Storage, options: Options) -> str:
    """The unfinished job of the same options, queued again, or a new one."""
    for job in store.newest(1):
        if job.state == BatchState.COMPLETED:
            continue
        if options.fresh:
            delete_leftovers(job.id, store, storage)
        else:
            store.change_state(job.id, (job.state,), BatchState.QUEUED)
            return job.id
    return store.add(options.request).id


def main() -> int:
    """The exit status, as --help gives it."""
    options = parse_arguments()
    try:
        models = (f"{MODEL_NAME}={options.model}",) if options.model else ()
        settings = load(Settings, COMMAND, {"model": models})
        if "log_level" not in settings.model_fields_set and not is_hub(options.model or ""):  # its download takes long
            settings = settings.model_copy(update={"log_level": "warning"})
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return _USAGE
    logs.configure(settings)
    control = Control()
    started = time.monotonic()
    with _stopped_by_signals(control):
        try:
            job = run(options, settings, control)
        except (JobError, StoreError, LocationError, ClusterError) as error:
            print(f"error: {error}", file=sys.stderr)
            return _FAILED
    if job.state == BatchState.FAILED:
        print(f"error: {job.error}", file=sys.stderr)
        return _FAILED
    if job.state in ACTIVE:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return _INTERRUPTED
    for file in options.state.parent.glob(f"{options.state.name}*"):
        file.unlink()
    print(_summary(job, time.monotonic() - started))
    return 0


def _summary(job: Job, seconds: float) -> str:
    done = job.progress
    rows = done.rows_done + done.rows_failed
    files = f"{done.files_done:,} file" + ("" if done.files_done == 1 else "s")
    errors = f", {done.rows_failed:,} of them errors" if done.rows_failed else ""
    return f"{rows:,} lines in {files}{errors}; {seconds:.1f} s"


@contextlib.contextmanager
def _stopped_by_signals(control: Control) -> Iterator[None]:
    """SIGINT and SIGTERM end the job in good order; a second one ends the process."""

    def stop(number: int, _frame: object) -> None:
        control.stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
