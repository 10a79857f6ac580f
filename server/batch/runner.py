"""Runs one job: file after file, each output whole or not there."""

from __future__ import annotations

import itertools
import sqlite3
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchState, OnError

from server.batch.pipeline.lines import LineReader
from server.batch.pipeline.parts import in_order
from server.batch.state.job import ACTIVE, NO_PREDICTIONS, FileState, JobError, StoppedError
from server.batch.storage.storage import LocationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from server.batch.pipeline.parts import Part, Work
    from server.batch.state.control import Control
    from server.batch.state.job import Job, JobFile, JobRequest, Progress, RowError
    from server.batch.state.store import Store
    from server.batch.storage.storage import Output, Storage

    OpenWork = Callable[[JobRequest, Control], AbstractContextManager[Work]]

log = structlog.get_logger()

_COMPRESSION = 3  # four times as fast as the usual 6, for files a tenth larger
_RETRY_S = 1.0
_TRIES_WHEN_STOPPED = 3
_FILES_IN_WORK = 2  # one is predicted while the one before it appears
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs of a store, in the threads that call it."""

    store: Store
    storage: Storage
    open_work: OpenWork

    def run(self, job_id: str, control: Control) -> int:
        """Run a job that has not ended until it ends or is stopped; its state then, of BatchState."""
        if not self.store.change_state(job_id, ACTIVE, BatchState.RUNNING):
            return int(self.store.job(job_id).state)
        state, error = self._ended(job_id, control)
        if state in (BatchState.FAILED, BatchState.CANCELLED):
            self._delete_leftovers(job_id)
        self._keep(job_id, control, state, error)
        log.info("job ended", job=job_id, state=BatchState._VALUES_TO_NAMES[state], error=error)
        return state

    def _keep(self, job_id: str, control: Control, state: int, error: str | None) -> None:
        """Write how the job has ended, as often as it takes: a disk may be full. Gives up soon when it is stopped."""
        for tries in itertools.count(1):
            try:
                self.store.change_state(job_id, (BatchState.RUNNING,), state, error)
                return
            except sqlite3.Error as reason:
                log.warning("a job's end cannot be kept", job=job_id, why=str(reason), tries=tries)
                if control.stopped and tries >= _TRIES_WHEN_STOPPED:
                    raise
            time.sleep(_RETRY_S)

    def _ended(self, job_id: str, control: Control) -> tuple[int, str | None]:
        try:
            control.check()
            job = self.store.job(job_id)
            with self.open_work(job.request, control) as work:
                self._run_files(job, work, control)
        except StoppedError:
            return (BatchState.CANCELLED if control.cancelled else BatchState.QUEUED), None
        except JobError as error:
            return BatchState.FAILED, str(error)
        except (StorageError, LocationError) as error:
            return BatchState.FAILED, f"{NO_PREDICTIONS}{error}"
        except BaseException as error:
            log.exception("a job failed unexpectedly", job=job_id)
            return BatchState.FAILED, f"{NO_PREDICTIONS}{type(error).__name__}: {error}"
        return BatchState.COMPLETED, None

    def _delete_leftovers(self, job_id: str) -> None:
        """Of the files that were in work when a process was killed that ran the job before."""
        try:
            output = self.store.job(job_id).request.output
            begun = [file for file in self.store.files(job_id) if file.state != FileState.DONE]
            for file in begun[:_FILES_IN_WORK]:
                self.storage.delete_leftovers(self.storage.output_for(output, file.input))
        except Exception as error:
            log.warning("half files may be left", job=job_id, why=str(error))

    def _run_files(self, job: Job, work: Work, control: Control) -> None:
        files = self._files(job)
        progress = control.progress = self.store.job(job.id).progress
        with _one_behind() as finish:
            for file in files:
                if file.state != FileState.DONE:
                    control.check()
                    file_work = FileWork(self, job, work, control, progress, file)
                    file_work.predict()
                    finish(file_work.commit)

    def _files(self, job: Job) -> list[JobFile]:
        """The job's files: those listed when it first ran."""
        files = self.store.files(job.id)
        if not files:
            found = self.storage.list_inputs(job.request.input)
            self.storage.check_outputs_apart(job.request.input, found, job.request.output)
            self.store.set_files(job.id, found)
            files = self.store.files(job.id)
        return files


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


class FileWork:
    """One file of a job: first its lines are predicted, then its output appears."""

    def __init__(
        self, runner: Runner, job: Job, work: Work, control: Control, progress: Progress, file: JobFile
    ) -> None:
        self._runner = runner
        self._job = job
        self._work = work
        self._control = control
        self._progress = progress
        self._before = replace(progress)
        self._file = file
        self._output = runner.storage.output_for(job.request.output, file.input)
        self._unfinished: tuple[Output, ExitStack] | None = None

    def predict(self) -> None:
        """Write what will appear. Raises JobError, StoppedError, StorageError, LocationError."""
        file, storage, progress = self._file, self._runner.storage, self._progress
        if file.state == FileState.COMMITTING and not file.replaces and storage.exists(self._output):
            progress.rows_done += file.rows_done  # killed between the output's appearance and the note of it
            progress.rows_failed += file.rows_failed
        else:
            storage.delete_leftovers(self._output)
            replaces = storage.exists(self._output)
            with ExitStack() as output_open:
                output = output_open.enter_context(storage.create(self._output))
                with storage.open_input(file.input.location, self._control.check) as source:
                    self._predict(source, output)
                self._unfinished = output, output_open.pop_all()
            self._file = replace(
                file,
                state=FileState.COMMITTING,
                replaces=replaces,
                rows_done=progress.rows_done - self._before.rows_done,
                rows_failed=progress.rows_failed - self._before.rows_failed,
            )
        progress.bytes_done = self._before.bytes_done + (file.input.size or 0)

    def commit(self) -> None:
        """Let it appear. Raises StorageError."""
        store, job_id = self._runner.store, self._job.id
        if self._unfinished is not None:
            output, output_open = self._unfinished
            with output_open:
                store.set_file(job_id, self._file)
                output.commit()
        store.set_file(job_id, replace(self._file, state=FileState.DONE))
        self._progress.files_done += 1

    def _predict(self, source: BinaryIO, output: Output) -> None:
        packed = self._file.input.relative.endswith(".gz")  # not by its location: a signed URL ends in its signature
        target = _Packed(output) if packed else output

        def on_block() -> None:
            self._control.check()
            self._progress.bytes_done = self._before.bytes_done + source.tell()

        chunks = LineReader(self._work, on_block).read(source, self._file.input.location, packed=packed)
        with closing(in_order(self._work, chunks, self._control)) as parts:
            for part in parts:
                self._write(part, target)
        if isinstance(target, _Packed):
            target.close()

    def _write(self, part: Part, target: Output | _Packed) -> None:
        if part.errors:
            self._count(part.errors)
        target.write(part.output)
        self._progress.rows_done += part.rows - len(part.errors)
        self._progress.rows_failed += len(part.errors)

    def _count(self, errors: list[tuple[int, RowError]]) -> None:
        """Raises JobError where there may be no error, or not so many."""
        request, location = self._job.request, self._file.input.location
        if request.on_error == OnError.FAIL:
            number, error = errors[0]
            raise JobError(f"{NO_PREDICTIONS}{location}, line {number}: {error.message}")
        room = len(errors)
        if request.max_errors is not None:
            room = request.max_errors - self._progress.rows_failed
        if room < len(errors):
            number, error = errors[room]
            raise JobError(
                f"{NO_PREDICTIONS}{location}, line {number}: {error.message}; that is one error more than "
                f"max_errors ({request.max_errors}) allows"
            )


class _Packed:
    """Packs what is written to an output with gzip."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._packer = zlib.compressobj(_COMPRESSION, wbits=_GZIP)

    def write(self, data: bytes) -> None:
        self._output.write(self._packer.compress(data))

    def close(self) -> None:
        """Write the end."""
        self._output.write(self._packer.flush())
