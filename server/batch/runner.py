"""Runs one job: file after file, each output whole or not there."""

from __future__ import annotations

import itertools
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchStage, BatchState

from server.batch.pipeline.file_task import FileTask, JobRun
from server.batch.state.errors import JobError, StoppedError
from server.batch.state.job import ACTIVE, FileState
from server.batch.storage.errors import LocationError, StorageError
from server.batch.storage.locations import output_of
from server.batch.storage.overlap import check_outputs_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from server.batch.pipeline.executor import Executor
    from server.batch.state.control import Control
    from server.batch.state.job import Job, JobFile, JobRequest
    from server.batch.state.job_store import JobStore
    from server.batch.storage.access import Storage

    OpenExecutor = Callable[[JobRequest, Control], AbstractContextManager[Executor]]

log = structlog.get_logger()

_RETRY_S = 1.0
_TRIES_WHEN_STOPPED = 3
_FILES_AT_A_TIME = 2  # one is predicted while the one before it appears


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs of a store, in the threads that call it."""

    store: JobStore
    storage: Storage
    open_executor: OpenExecutor

    def run(self, job_id: str, control: Control) -> int:
        """Run a job that has not ended until it ends or is stopped; its state then, of BatchState."""
        if not self.store.change_state(job_id, ACTIVE, BatchState.RUNNING):
            return int(self.store.job(job_id).state)
        state, failure = self._run_to_end(job_id, control)
        if state in (BatchState.FAILED, BatchState.CANCELLED):
            delete_leftovers(job_id, self.store, self.storage)
        self._keep(job_id, control, state, failure)
        error = None if failure is None else str(failure)
        log.info("job ended", job=job_id, state=BatchState._VALUES_TO_NAMES[state], error=error)
        return state

    def _keep(self, job_id: str, control: Control, state: int, failure: JobError | None) -> None:
        """Write how the job has ended, as often as it takes: a disk may be full. Gives up soon when it is stopped."""
        for tries in itertools.count(1):
            try:
                self.store.change_state(job_id, (BatchState.RUNNING,), state, failure)
                return
            except sqlite3.Error as reason:
                log.warning("a job's end cannot be stored; it is tried again", job=job_id, why=str(reason), tries=tries)
                if control.stopped and tries >= _TRIES_WHEN_STOPPED:
                    raise
            time.sleep(_RETRY_S)

    def _run_to_end(self, job_id: str, control: Control) -> tuple[int, JobError | None]:
        """The state that it ends in, of BatchState, and why it failed."""
        try:
            control.check()
            job = self.store.job(job_id)
            with self.open_executor(job.request, control) as executor:
                self._run_files(job, executor, control)
        except StoppedError:
            return (BatchState.CANCELLED if control.cancelled else BatchState.QUEUED), None
        except JobError as error:
            return BatchState.FAILED, error
        except (StorageError, LocationError) as error:
            return BatchState.FAILED, JobError(BatchStage.PREDICTIONS, str(error))
        except BaseException as error:
            log.exception("a job failed unexpectedly", job=job_id)
            return BatchState.FAILED, JobError(BatchStage.PREDICTIONS, f"{type(error).__name__}: {error}")
        return BatchState.COMPLETED, None

    def _run_files(self, job: Job, executor: Executor, control: Control) -> None:
        files = self._files(job)
        progress = control.progress = self.store.job(job.id).progress
        run = JobRun(job, self.store, self.storage, executor, control, progress)
        with _one_behind() as finish:
            for file in files:
                if file.state != FileState.DONE:
                    control.check()
                    task = FileTask(run, file)
                    task.predict()
                    finish(task.commit)

    def _files(self, job: Job) -> list[JobFile]:
        """The job's files: those listed when it first ran."""
        files = self.store.files(job.id)
        if not files:
            found = self.storage.list_inputs(job.request.input)
            check_outputs_apart(job.request.input, found, job.request.output)
            for file in found:
                self.storage.check(output_of(file, job.request.output), "write")
            self.store.set_files(job.id, found)
            files = self.store.files(job.id)
        return files


def delete_leftovers(job_id: str, store: JobStore, storage: Storage) -> None:
    """Of the files that were in progress when a process was killed that ran the job before."""
    try:
        output = store.job(job_id).request.output
        unfinished = [file for file in store.files(job_id) if file.state != FileState.DONE]
        for file in unfinished[:_FILES_AT_A_TIME]:
            storage.delete_leftovers(output_of(file.input, output), job_id, file.upload)
    except Exception as error:
        log.warning("half-written files may be left", job=job_id, why=str(error))


@contextmanager
def _one_behind() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Gives a function that runs others one after the other, in a thread of its own, while its caller goes on.

    It raises what the one before raised; the end of the block waits for the last. The model would have nothing to do
    while a finished file makes its way to the disk or the store.
    """
    running: Future[None] | None = None

    def finish(work: Callable[[], None]) -> None:
        nonlocal running
        before, running = running, thread.submit(work)
        if before is not None:
            before.result()

    with ThreadPoolExecutor(1, "commit") as thread:
        yield finish
        if running is not None:
            running.result()
