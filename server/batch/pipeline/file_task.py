"""One file of a job: its lines are predicted, then its output appears."""

from __future__ import annotations

import zlib
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from predictor.ttypes import BatchStage, OnError

from server.batch.pipeline.executor import in_order
from server.batch.pipeline.lines import LineReader
from server.batch.state.errors import JobError
from server.batch.state.job import FileState
from server.batch.storage.errors import printable
from server.batch.storage.locations import output_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from server.batch.pipeline.executor import ChunkResult, Executor
    from server.batch.state.control import Control
    from server.batch.state.errors import RowError
    from server.batch.state.job import Job, JobFile, Progress
    from server.batch.state.job_store import JobStore
    from server.batch.storage.access import Storage
    from server.batch.storage.backends.backend import Output

_COMPRESSION = 3  # four times as fast as the usual 6, for files a tenth larger
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class JobRun:
    """A job while it runs, and what it runs with."""

    job: Job
    store: JobStore
    storage: Storage
    executor: Executor
    control: Control
    progress: Progress
    """Counts the file in progress too."""


class FileTask:
    """One file of a job."""

    def __init__(self, run: JobRun, file: JobFile) -> None:
        self._run = run
        self._file = file
        self._before = replace(run.progress)
        self._output = output_of(file.input, run.job.request.output)
        self._uncommitted: tuple[Output, ExitStack] | None = None

    def predict(self) -> None:
        """Write what will appear. Raises JobError, StoppedError, StorageError, LocationError."""
        file, storage, progress, control = self._file, self._run.storage, self._run.progress, self._run.control
        if file.state == FileState.COMMITTING and not file.replaces and storage.exists(self._output):
            progress.rows_done += file.rows_done  # killed between the output's appearance and the note of it
            progress.rows_failed += file.rows_failed
        else:
            storage.delete_leftovers(self._output, self._run.job.id, file.upload)
            replaces = storage.exists(self._output)
            with ExitStack() as output_open:
                output = output_open.enter_context(storage.create(self._output, self._run.job.id, self._note_upload))
                with (
                    storage.open_input(file.input.location, control.check) as source,
                    _open_as_long_as(source, control),
                ):
                    self._predict_lines(source, output)
                self._uncommitted = output, output_open.pop_all()
            self._file = replace(
                file,
                state=FileState.COMMITTING,
                replaces=replaces,
                rows_done=progress.rows_done - self._before.rows_done,
                rows_failed=progress.rows_failed - self._before.rows_failed,
            )
        progress.bytes_done = self._before.bytes_done + (file.input.size or 0)

    def commit(self) -> None:
        """Let the output appear. Raises StorageError."""
        store, job_id = self._run.store, self._run.job.id
        if self._uncommitted is not None:
            output, output_open = self._uncommitted
            with output_open:
                store.set_file(job_id, self._file)
                output.commit()
        store.set_file(job_id, replace(self._file, state=FileState.DONE))
        self._run.progress.files_done += 1

    def _note_upload(self, upload: str) -> None:
        self._run.store.set_upload(self._run.job.id, self._file.number, upload)

    def _predict_lines(self, source: BinaryIO, output: Output) -> None:
        run = self._run
        gzipped = self._file.input.relative.endswith(".gz")  # not by its location: a signed URL ends in its signature
        target = _Gzip(output) if gzipped else output

        def on_block() -> None:
            run.control.check()
            run.progress.bytes_done = self._before.bytes_done + source.tell()

        chunks = LineReader(run.executor, on_block).read(source, self._file.input.location, gzipped=gzipped)
        with closing(in_order(run.executor, chunks, run.control)) as results:
            for result in results:
                self._write(result, target)
        if isinstance(target, _Gzip):
            target.close()

    def _write(self, result: ChunkResult, target: Output | _Gzip) -> None:
        if result.errors:
            self._check_errors(result.errors)
        target.write(result.output)
        self._run.progress.rows_done += result.rows - len(result.errors)
        self._run.progress.rows_failed += len(result.errors)

    def _check_errors(self, errors: list[tuple[int, RowError]]) -> None:
        """Raises JobError where there may be no error, or not so many."""
        request, location = self._run.job.request, printable(self._file.input.location)
        if request.on_error == OnError.FAIL:
            number, error = errors[0]
            raise JobError(BatchStage.PREDICTIONS, f"{location}, line {number}: {error.message}")
        room = len(errors)
        if request.max_errors is not None:
            room = request.max_errors - self._run.progress.rows_failed
        if room < len(errors):
            number, error = errors[room]
            limit = f"that is one error more than max_errors ({request.max_errors}) allows"
            raise JobError(BatchStage.PREDICTIONS, f"{location}, line {number}: {error.message}; {limit}")


def _open_as_long_as(source: BinaryIO, control: Control) -> AbstractContextManager[None]:
    """A server that gives no ranges sends its file once, and hangs up on whoever pauses."""
    return nullcontext() if source.seekable() else control.without_pauses()


class _Gzip:
    """Compresses what is written to an output."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._compressor = zlib.compressobj(_COMPRESSION, wbits=_GZIP)

    def write(self, data: bytes) -> None:
        self._output.write(self._compressor.compress(data))

    def close(self) -> None:
        """Write the end."""
        self._output.write(self._compressor.flush())
