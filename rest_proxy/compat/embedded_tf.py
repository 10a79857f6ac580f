"""embedded-tf's service: GET /?model=&input=&output= predicts every line of every file, and answers when that is done.

It runs as a job: a client that goes away leaves it running, and /batches/ID shows it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import BatchRequest, BatchStage, BatchState, ErrorCode, PredictionError

from rest_proxy.http.content import STRING, TEXT
from rest_proxy.http.errors import HttpError, invalid_argument, request_field
from rest_proxy.http.responses import ErrorFormat, text_error, text_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import BatchJob

    from rest_proxy.backend.jobs import Jobs
    from rest_proxy.backend.pool import Server

JOB_ID = "X-Batch-Id"

_PARAMETERS = ("model", "input", "output")
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0
_SILENCE_S = 120.0  # a server that has crashed may take so long to be back
_ENDED = (BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED)
_FAILURES = {
    BatchStage.MODEL: "error when downloading model files",
    BatchStage.TENSORFLOW: "error when starting tensorflow",
    BatchStage.PREDICTIONS: "error when making predictions",
}
_DESCRIPTION = (
    "GET / without `doc`, with `model`, `input` and `output` is embedded-tf's: it predicts the files at `input` "
    "with the SavedModel at `model` into `output` as a job, and answers when the job has ended; the job goes on "
    f"when the client goes away, and the header {JOB_ID} of the answer names it."
)

log = structlog.get_logger(__name__)


class EmbeddedTf:
    """The route's answers."""

    def __init__(self, jobs: Jobs, draining: asyncio.Event) -> None:
        self._jobs = jobs
        self._draining = draining

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`predictions completed`, or which of the three steps failed; the header X-Batch-Id names the job."""
        query = request.rel_url.query
        for name in _PARAMETERS:
            if not query.get(name):
                raise invalid_argument(f"Query Param '{name}' is missing")
        job, upstream = await self._submit(BatchRequest("predict", *(query[name] for name in _PARAMETERS)))
        job = await self._ended(job, upstream)
        headers = {JOB_ID: job.id}
        if job.state == BatchState.COMPLETED:
            return text_response("predictions completed\n", request_id, headers=headers)
        if job.state not in _ENDED:
            message = f"the server is stopping; job {job.id} goes on when it runs again\n"
            return text_response(message, request_id, 503, headers)
        log.warning("a job failed", job=job.id, why=job.error, request_id=request_id)
        failure = _FAILURES.get(job.failed_stage, _FAILURES[BatchStage.PREDICTIONS])
        return text_response(f"{failure}\n", request_id, 500, headers)

    async def _submit(self, request: BatchRequest) -> tuple[BatchJob, Server]:
        try:
            return await self._jobs.submit(request)
        except PredictionError as error:
            field = error.field and request_field(error.field)
            if error.code != ErrorCode.INVALID_ARGUMENT or field not in _PARAMETERS:
                raise
            # What the contract puts around the reason, embedded-tf did not say.
            reason = error.message.removeprefix(f"{error.field}: ").removesuffix(f" (setting {error.setting})")
            raise invalid_argument(f"'{field}' bad formatted: {reason}") from None

    async def _ended(self, job: BatchJob, upstream: Server) -> BatchJob:
        """The job when it has ended, or when the proxy is to end."""
        loop = asyncio.get_running_loop()
        wait_s, heard = _FIRST_WAIT_S, loop.time()
        while job.state not in _ENDED and not await self._drains_within(wait_s):
            wait_s = min(1.5 * wait_s, _LONGEST_WAIT_S)
            try:
                job = await self._jobs.job_at(upstream, job.id)
                heard = loop.time()
            except PredictionError as error:
                if error.code == ErrorCode.NOT_FOUND or loop.time() - heard > _SILENCE_S:
                    raise HttpError(error.code, f"job {job.id}: {error.message}", status=500) from None
        return job

    async def _drains_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._draining.wait()
        except TimeoutError:
            return False


def _claims(request: web.BaseRequest) -> bool:
    """Whether this is embedded-tf's client and not PyText's, whose requests have a `doc` and none of these names."""
    if request.method != "GET" or request.rel_url.raw_path != "/":
        return False
    if request.rel_url.raw_query_string.startswith("doc="):  # nearly all of PyText's
        return False
    query = request.rel_url.query
    return "doc" not in query and any(name in query for name in _PARAMETERS)


ERRORS = ErrorFormat("TextError", lambda error, _request, request_id: text_error(error, request_id), {TEXT: STRING})


def routes(jobs: Jobs, draining: asyncio.Event) -> list[Route]:
    """/ with embedded-tf's parameters; `draining` is set when the proxy is to end."""
    location = {**STRING, "description": "embedded-tf's."}
    return [
        Route(
            path="/",
            methods=("GET",),
            answer=EmbeddedTf(jobs, draining),
            claims=_claims,
            changes=True,
            label="/?model",
            name="predictFiles",
            summary="Predict files, as embedded-tf did",
            description=_DESCRIPTION,
            tag="embedded-tf",
            request={"type": "object", "properties": dict.fromkeys(_PARAMETERS, location)},
            example=Example({"model": "gs://b/model", "input": "gs://b/in/", "output": "gs://b/out"}),
            answers=(
                Answer(
                    {TEXT: STRING},
                    headers={JOB_ID: {**STRING, "description": "embedded-tf's: the job's id."}},
                    examples={TEXT: "predictions completed\n"},
                ),
            ),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
        )
    ]
