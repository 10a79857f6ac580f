"""Batch jobs on the servers: each job belongs to the server that accepted it, and the others do not know it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, PredictionError

from rest_proxy.backend.contract import CANCEL_BATCH, GET_BATCH, LIST_BATCHES, RESUME_BATCH, SUBMIT_BATCH

if TYPE_CHECKING:
    from predictor.ttypes import BatchJob, BatchRequest

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool, Server
    from rest_proxy.config import Settings


class Jobs:
    """What jobs there are, wherever they run. All methods raise what Pool.call does."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._timeout_ms = settings.timeout_ms
        self._pool = pool

    async def submit(self, request: BatchRequest) -> tuple[BatchJob, Server]:
        """A new job, and the server that runs it: one of those that run jobs."""
        return await self._pool.call_somewhere(SUBMIT_BATCH, request, timeout_ms=self._timeout_ms)

    async def job_at(self, upstream: Server, job_id: str) -> BatchJob:
        """How a job stands, from its server."""
        return await self._pool.call_at(upstream, GET_BATCH, job_id, timeout_ms=self._timeout_ms)

    async def job(self, job_id: str) -> BatchJob:
        """How a job stands."""
        return await self._at_its_server(GET_BATCH, job_id)

    async def cancel(self, job_id: str) -> BatchJob:
        """End a job; one that has ended stays as it is."""
        return await self._at_its_server(CANCEL_BATCH, job_id)

    async def resume(self, job_id: str) -> BatchJob:
        """Let a job go on that failed or was cancelled; any other stays as it is."""
        return await self._at_its_server(RESUME_BATCH, job_id)

    async def newest(self, limit: int) -> list[BatchJob]:
        """The newest jobs of all servers that can be asked and run jobs."""
        answers = await self._ask_all(LIST_BATCHES, limit)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not found:
            raise _worst(answers)
        jobs = [job for jobs in found for job in jobs]
        return sorted(jobs, key=lambda job: job.created_at, reverse=True)[:limit]

    async def _at_its_server(self, method: Method, job_id: str) -> BatchJob:
        answers = await self._ask_all(method, job_id)
        for answer in answers:
            if not isinstance(answer, BaseException):
                return answer
        raise _worst(answers)

    async def _ask_all(self, method: Method, argument: Any) -> list[Any]:
        """Every server's answer or error."""
        upstreams = self._pool.upstreams
        if len(upstreams) == 1:
            return [await self._pool.call(method, argument, timeout_ms=self._timeout_ms)]
        calls = (self._pool.call_at(upstream, method, argument, timeout_ms=self._timeout_ms) for upstream in upstreams)
        return await asyncio.gather(*calls, return_exceptions=True)


def _worst(errors: list[BaseException]) -> BaseException:
    """The error to show: that nobody knows the job is sure only when everyone could be asked."""
    return min(errors, key=lambda error: isinstance(error, PredictionError) and error.code == ErrorCode.NOT_FOUND)
