"""What a batch job is."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from predictor.ttypes import BatchJob, BatchRequest, BatchState, OnError

if TYPE_CHECKING:
    from server.batch.storage.locations import InputFile

ACTIVE = (BatchState.QUEUED, BatchState.RUNNING)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The contract's BatchRequest, its defaults filled in."""

    method: str
    model: str | None
    input: str
    output: str
    on_error: int = OnError.FAIL
    max_errors: int | None = None
    key_field: str | None = None

    @staticmethod
    def from_contract(request: BatchRequest) -> JobRequest:
        """A request as it came; it has not been looked at yet."""
        on_error = OnError.FAIL if request.on_error is None else request.on_error
        return JobRequest(
            request.method,
            request.model,
            request.input,
            request.output,
            on_error,
            request.max_errors,
            request.key_field,
        )

    def to_contract(self) -> BatchRequest:
        """For clients."""
        return BatchRequest(**asdict(self))


class FileState(enum.IntEnum):
    """How far a file has come; a crash leaves it where it is."""

    WAITING = 0
    COMMITTING = 1
    """All its lines are predicted, and its output appears just now, or has appeared."""
    DONE = 2


@dataclass(frozen=True, slots=True)
class JobFile:
    """One of a job's input files."""

    number: int
    """Its place among them, from 0."""
    input: InputFile
    state: FileState
    rows_done: int
    rows_failed: int
    replaces: bool
    """Its output existed before."""
    upload: str | None = None
    """The store's id of the upload of its output that began last."""


@dataclass(slots=True)
class Progress:
    """How far a job has come."""

    rows_done: int = 0
    rows_failed: int = 0
    files_done: int = 0
    bytes_done: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands in the store."""

    id: str
    request: JobRequest
    state: int
    """Of the contract's BatchState."""
    created_at: float
    finished_at: float | None = None
    error: str | None = None
    failed_stage: int | None = None
    """Of the contract's BatchStage."""
    progress: Progress = field(default_factory=Progress)
    """The file in work is not counted."""
    files_total: int = 0
    bytes_total: int = 0

    def to_contract(self, progress: Progress | None = None) -> BatchJob:
        """For clients. A running job's `progress` counts the file in work too."""
        progress = progress or self.progress
        return BatchJob(
            id=self.id,
            state=self.state,
            request=self.request.to_contract(),
            progress=self._share(progress),
            rows_done=progress.rows_done,
            rows_failed=progress.rows_failed,
            files_done=progress.files_done,
            files_total=self.files_total,
            created_at=self.created_at,
            finished_at=self.finished_at,
            error=self.error,
            failed_stage=self.failed_stage,
        )

    def _share(self, progress: Progress) -> float:
        """Share of the bytes; of the files where nobody knows their sizes."""
        if self.state == BatchState.COMPLETED:
            return 1.0
        if self.bytes_total:
            return min(1.0, progress.bytes_done / self.bytes_total)
        return progress.files_done / self.files_total if self.files_total else 0.0
