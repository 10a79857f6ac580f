"""The server's jobs: accepted, run some at a time, stopped when the server drains, and gone on with when it starts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchState

from server.batch.admission import TFSERVING_SCHEME, Admission
from server.batch.control import Control
from server.batch.job import ACTIVE, Job, JobRequest
from server.batch.methods import Methods
from server.batch.runner import Runner
from server.batch.storage import Storage
from server.batch.store import Store
from server.batch.text_model import Models
from server.errors import PredictionError, invalid_argument, not_found, overloaded, unavailable

if TYPE_CHECKING:
    from predictor.ttypes import BatchJob, BatchRequest

    from server.config import Settings
    from server.registry import Registry

log = structlog.get_logger()

_MOST_LISTED = 1000
_RETRY_MS = 10_000


class Jobs:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        """Opens the store. Raises StoreError, LocationError."""
        self._settings = settings
        assert settings.jobs_db is not None
        schemes = [scheme for scheme in settings.batch_schemes if scheme != TFSERVING_SCHEME]
        scratch = Path(f"{settings.jobs_db}.copies")
        self._storage = Storage(settings.batch_roots, schemes, settings.batch_buckets, scratch)
        self._store = Store(settings.jobs_db)
        self._admission = Admission(self._storage, registry, settings.batch_schemes)
        models = Models(registry, asyncio.get_running_loop())
        methods = Methods(models, self._storage, settings)
        self._runner = Runner(self._store, self._storage, methods.open)
        self._threads = ThreadPoolExecutor(settings.batch_jobs, thread_name_prefix="job")
        self._controls: dict[str, Control] = {}
        self._stopping = False

    def start(self) -> None:
        """Go on with the jobs that have not ended, the oldest first: when the models are loaded."""
        self._storage.delete_copies()
        self._store.requeue()
        for job_id, _ in self._store.queued():
            self._run(job_id)

    async def submit(self, request: BatchRequest) -> BatchJob:
        """Accept a job. Raises PredictionError."""
        if self._stopping:
            raise unavailable("the server is draining")
        accepted = JobRequest.from_contract(request)
        await asyncio.to_thread(self._admission.check, accepted)
        self._admission.check_name(accepted)
        job = await asyncio.to_thread(self._add, accepted)
        self._run(job.id)
        log.info("job accepted", job=job.id, method=accepted.method, input=accepted.input, output=accepted.output)
        return self._shown(job)

    async def job(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        return self._shown(await self._find(job_id))

    async def cancel(self, job_id: str) -> BatchJob:
        """End a job, queued or running; one that has ended stays as it is. Raises NOT_FOUND."""
        job = await self._find(job_id)
        if not await asyncio.to_thread(
            self._store.change_state, job_id, (BatchState.QUEUED,), BatchState.CANCELLED
        ) and (control := self._controls.get(job_id)):
            control.stop(cancel=True)
            while job_id in self._controls:  # noqa: ASYNC110 - rare, and soon over
                await asyncio.sleep(0.01)
        return self._shown(await self._find(job.id))

    async def newest(self, limit: int) -> list[BatchJob]:
        """The newest first, at most `limit`. Raises INVALID_ARGUMENT."""
        _check_limit(limit)
        return [self._shown(job) for job in await asyncio.to_thread(self._store.newest, limit)]

    async def stop(self) -> None:
        """End running jobs where they are; they go on at the next start."""
        self._stopping = True
        for control in self._controls.values():
            control.stop()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self._store.close()

    def _run(self, job_id: str) -> None:
        control = Control()
        self._threads.submit(self._work, job_id, control)

    def _work(self, job_id: str, control: Control) -> None:
        """In a thread: one job."""
        if self._stopping:
            return
        self._controls[job_id] = control
        try:
            self._runner.run(job_id, control)
            self._store.prune(self._settings.batch_kept)
        except Exception:
            log.exception("a job's state could not be kept", job=job_id)
        finally:
            del self._controls[job_id]

    async def _find(self, job_id: str) -> Job:
        try:
            return await asyncio.to_thread(self._store.job, job_id)
        except KeyError:
            raise _no_job(job_id) from None

    def _add(self, request: JobRequest) -> Job:
        if self._store.count_queued() >= self._settings.batch_queue:
            raise overloaded(f"{self._settings.batch_queue} jobs are waiting (setting batch_queue)", _RETRY_MS)
        return self._store.add(request)

    def _shown(self, job: Job) -> BatchJob:
        control = self._controls.get(job.id) if job.state in ACTIVE else None
        return job.to_contract(control.progress if control is not None else None)


class NoJobs:
    """A server without a store."""

    async def submit(self, _request: BatchRequest) -> BatchJob:
        """Raises UNAVAILABLE."""
        raise unavailable("this server runs no batch jobs; the setting jobs_db turns them on")

    async def job(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        raise _no_job(job_id)

    async def cancel(self, job_id: str) -> BatchJob:
        """Raises NOT_FOUND."""
        raise _no_job(job_id)

    async def newest(self, limit: int) -> list[BatchJob]:
        """None. Raises INVALID_ARGUMENT."""
        _check_limit(limit)
        return []

    def start(self) -> None:
        """There is nothing to go on with."""

    async def stop(self) -> None:
        """There is nothing to stop."""


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= _MOST_LISTED:
        raise invalid_argument(f"limit is {limit}; it must lie between 1 and {_MOST_LISTED}")


def _no_job(job_id: str) -> PredictionError:
    return not_found(f"no job has the id {job_id[:128]!r}")
