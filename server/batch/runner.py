"""Runs one job: file after file, each output whole or not there."""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchState, OnError

from server.batch.job import NO_PREDICTIONS, FileState, JobError, StoppedError
from server.batch.lines import LineReader, is_packed
from server.batch.parts import in_order
from server.batch.storage import LocationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from server.batch.control import Control
    from server.batch.job import Job, JobFile, JobRequest, Progress, RowError
    from server.batch.parts import Part, Work
    from server.batch.storage import Output, Storage
    from server.batch.store import Store

    OpenWork = Callable[[JobRequest, Control], AbstractContextManager[Work]]

log = structlog.get_logger()

_COMPRESSION = 3  # four times as fast as the usual 6, for files a tenth larger
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs of a store, in the threads that call it."""

    store: Store
    storage: Storage
    open_work: OpenWork
    line_bytes: int

    def run(self, job_id: str, control: Control) -> int:
        """Run a queued job until it ends or is stopped; its state then, of BatchState."""
        if not self.store.change_state(job_id, (BatchState.QUEUED,), BatchState.RUNNING):
            return int(self.store.job(job_id).state)
        state, error = self._ended(job_id, control)
        self.store.change_state(job_id, (BatchState.RUNNING,), state, error)
        log.info("job ended", job=job_id, state=BatchState._VALUES_TO_NAMES[state], error=error)
        return state

    def _ended(self, job_id: str, control: Control) -> tuple[int, str | None]:
        try:
            job = self.store.job(job_id)
            with self.open_work(job.request, control) as work:
                self._run_files(job, work, control)
        except StoppedError:
            return (BatchState.CANCELLED if control.cancelled else BatchState.QUEUED), None
        except JobError as error:
            return BatchState.FAILED, str(error)
        except (StorageError, LocationError) as error:
            return BatchState.FAILED, f"{NO_PREDICTIONS}{error}"
        except Exception as error:
            log.exception("a job failed unexpectedly", job=job_id)
            return BatchState.FAILED, f"{NO_PREDICTIONS}{type(error).__name__}: {error}"
        return BatchState.COMPLETED, None

    def _run_files(self, job: Job, work: Work, control: Control) -> None:
        files = self._files(job)
        progress = control.progress = self.store.job(job.id).progress
        for file in files:
            if file.state != FileState.DONE:
                control.check()
                FileWork(self, job, work, control, progress, file).run()

    def _files(self, job: Job) -> list[JobFile]:
        """The job's files: those listed when it first ran."""
        files = self.store.files(job.id)
        if not files:
            self.store.set_files(job.id, self.storage.list_inputs(job.request.input))
            files = self.store.files(job.id)
        return files


class FileWork:
    """One file of a job, from its first line to its output's appearance."""

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

    def run(self) -> None:
        """Raises JobError, StoppedError, StorageError, LocationError."""
        file, storage, progress = self._file, self._runner.storage, self._progress
        if file.state == FileState.COMMITTING and not file.replaces and storage.exists(self._output):
            progress.rows_done += file.rows_done  # killed between the output's appearance and the note of it
            progress.rows_failed += file.rows_failed
        else:
            storage.delete_leftovers(self._output)
            file = replace(file, state=FileState.COMMITTING, replaces=storage.exists(self._output))
            with storage.open_input(file.input.location) as source, storage.create(self._output) as output:
                self._predict(source, output)
                file = replace(
                    file,
                    rows_done=progress.rows_done - self._before.rows_done,
                    rows_failed=progress.rows_failed - self._before.rows_failed,
                )
                self._runner.store.set_file(self._job.id, file)
                output.commit()
        self._runner.store.set_file(self._job.id, replace(file, state=FileState.DONE))
        progress.files_done += 1
        progress.bytes_done = self._before.bytes_done + (file.input.size or 0)

    def _predict(self, source: BinaryIO, output: Output) -> None:
        target = _Packed(output) if is_packed(self._output) else output
        chunks = LineReader(self._work, self._runner.line_bytes).read(source, self._file.input.location)
        with closing(in_order(self._work, chunks, self._control)) as parts:
            for part in parts:
                self._write(part, target)
                self._progress.bytes_done = self._before.bytes_done + source.tell()
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
