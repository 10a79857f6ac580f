"""The server's jobs: accepted, run some at a time, stopped when the server drains, and resumed when it starts."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchState

from process.options import LIMIT
from server.batch.admission import TFSERVING_SCHEME, Admission
from server.batch.methods.loaded_models import LoadedModels
from server.batch.methods.local_executors import LocalExecutors
from server.batch.runner import Runner
from server.batch.scheduler import Scheduler
from server.batch.state.job import ACTIVE, Job, JobRequest
from server.batch.state.job_store import JobStore
from server.batch.state.turns import Turns
from server.batch.storage.access import Storage
from server.batch.storage.own_files import own_files
from server.errors import PredictionError, invalid_argument, not_found, overloaded, unavailable

if TYPE_CHECKING:
    from predictor.ttypes import BatchJob, BatchRequest

    from server.config import Settings
    from server.models.registry import Registry

log = structlog.get_logger()

_SHOWN_CHARACTERS = 128
_RETRY_MS = 10_000
_CANCEL_S = 5.0
_RESUMED = (BatchState.FAILED, BatchState.CANCELLED)


class Jobs:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        """Opens the store; what ran when it was closed waits again. Raises StoreError, LocationError."""
        self._settings = settings
        assert settings.jobs_db is not None
        schemes = [scheme for scheme in settings.batch_schemes if scheme != TFSERVING_SCHEME]
        scratch = Path(f"{settings.jobs_db}.copies")
        storage = Storage(settings.batch_roots, schemes, settings.batch_buckets, scratch, own_files(settings))
        self._store = JobStore(settings.jobs_db)
        self._store.requeue()
        storage.delete_copies()
        self._admission = Admission(storage, registry, settings.batch_schemes)
        models = LoadedModels(registry, asyncio.get_running_loop())
        runner = Runner(self._store, storage, LocalExecutors(models, storage, settings).open)
        turns = Turns(settings.batch_jobs, settings.batch_turn_s)
        self._scheduler = Scheduler(self._store, runner, settings.batch_kept, turns)
        self._accepting = threading.Lock()
        self._stopping = False

    def start(self) -> None:
        """Resume the jobs that have not ended, the oldest first: when the models are loaded."""
        self._scheduler.start(self._settings.batch_jobs)

    async def submit(self, request: BatchRequest) -> BatchJob:
        """Accept a job; before `start` it waits. Raises PredictionError."""
        if self._stopping:
            raise unavailable("the server is draining")
        accepted = JobRequest.from_contract(request)
        await asyncio.to_thread(self._admission.check, accepted)
        self._admission.check_name(accepted)
        job = await asyncio.to_thread(self._add, accepted)
        log.info("job accepted", job=job.id, method=accepted.method, input=accepted.input, output=accepted.output)
        return self._shown(job)

    async def job(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        return self._shown(await self._find(job_id))

    async def cancel(self, job_id: str) -> BatchJob:
        """End a job, queued or running; one that has ended stays as it is. Raises NOT_FOUND.

        A job that does not end within some seconds, because its storage does not answer, is shown as it stands.
        """
        job = await self._find(job_id)
        end = time.monotonic() + _CANCEL_S
        cancelling = asyncio.get_running_loop().run_in_executor(None, self._scheduler.cancel, job)
        for told in (await asyncio.wait((cancelling,), timeout=_CANCEL_S))[0]:
            told.result()
        while self._scheduler.control(job_id) is not None and time.monotonic() < end:  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.01)
        return self._shown(await self._find(job_id))

    async def resume(self, job_id: str) -> BatchJob:
        """Let a job that failed or was cancelled go on; files that are done stay so. Any other stays as it is.

        Raises NOT_FOUND, and what `submit` raises where it would not be accepted now.
        """
        if self._stopping:
            raise unavailable("the server is draining")
        job = await self._find(job_id)
        if job.state in _RESUMED:
            await asyncio.to_thread(self._admission.check, job.request)
            self._admission.check_name(job.request)
            await asyncio.to_thread(self._queue_again, job)
            log.info("job resumed", job=job.id)
        return self._shown(await self._find(job_id))

    async def newest(self, limit: int) -> list[BatchJob]:
        """The newest first, at most `limit`. Raises INVALID_ARGUMENT."""
        _check_limit(limit)
        return [self._shown(job) for job in await asyncio.to_thread(self._store.newest, limit)]

    async def stop(self) -> None:
        """End running jobs where they are, however long that takes; they resume at the next start.

        Accepted jobs can still be looked up and cancelled.
        """
        self._stopping = True
        await asyncio.to_thread(self._scheduler.stop)

    def close(self) -> None:
        """After `stop`; nothing may be called any more."""
        self._store.close()

    async def _find(self, job_id: str) -> Job:
        try:
            return await asyncio.to_thread(self._store.job, job_id)
        except KeyError:
            raise _no_job(job_id) from None

    def _add(self, request: JobRequest) -> Job:
        with self._accepting:
            self._check_room()
            job = self._store.add(request)
        self._scheduler.wake()
        return job

    def _queue_again(self, job: Job) -> None:
        with self._accepting:
            self._check_room()
            self._store.change_state(job.id, _RESUMED, BatchState.QUEUED)
        self._scheduler.wake()

    def _check_room(self) -> None:
        if self._store.count_queued() >= self._settings.batch_queue:
            message = f"{self._settings.batch_queue} jobs are waiting"
            raise overloaded(message, _RETRY_MS, setting="batch_queue")

    def _shown(self, job: Job) -> BatchJob:
        control = self._scheduler.control(job.id) if job.state in ACTIVE else None
        return job.to_contract(control.progress if control is not None else None)


class NoJobs:
    """A server without a store."""

    async def submit(self, _request: BatchRequest) -> BatchJob:
        """Raises UNAVAILABLE."""
        raise unavailable("this server runs no batch jobs: give it a file for them", setting="jobs_db")

    async def job(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        raise _no_job(job_id)

    async def cancel(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        raise _no_job(job_id)

    async def resume(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        raise _no_job(job_id)

    async def newest(self, limit: int) -> list[BatchJob]:
        """None. Raises INVALID_ARGUMENT."""
        _check_limit(limit)
        return []

    def start(self) -> None:
        """There is nothing to resume."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    def close(self) -> None:
        """There is nothing to close."""


def _check_limit(limit: int) -> None:
    if (wrong := LIMIT.wrong(limit)) is not None:
        raise invalid_argument(wrong, field="limit")


def _no_job(job_id: str) -> PredictionError:
    return not_found(f"no job has the id {job_id[:_SHOWN_CHARACTERS]!r}", field="id")
