"""Batch jobs: POST /batches, GET /batches, GET /batches/ID, DELETE /batches/ID, POST /batches/ID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote, unquote

from predictor.ttypes import BatchJob, BatchRequest, ErrorCode, OnError
from pydantic import BeforeValidator, Field

from process.options import KEY_FIELD, LIMIT, MAX_ERRORS, ON_ERROR
from rest_proxy.backend.contract import plain, schema
from rest_proxy.http.content import JSON, STRING, array_of, object_of
from rest_proxy.http.requests import I64, Also, Strict, option_field, read_json, read_query
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import GET, MODEL_ERRORS, SERVER_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from rest_proxy.backend.jobs import Jobs
    from rest_proxy.config import Settings

PATH = "/batches"

_TAG = "batches"
_ID_CHARACTERS = 128
_METHODS = "predict, reply, embed, generate, rerank, classify_tokens, embed_sparse, embed_tokens or tokenize."
_LOCATION_CHARACTERS = 4096
_EXAMPLE = {"method": "predict", "input": "/data/documents/", "output": "/data/scores/"}
_EXAMPLE_ID = {"id": "0190a5c2"}
_ON_ERROR = {"fail": OnError.FAIL, "record": OnError.RECORD}
_ANY_CASE = {**STRING, "pattern": "^([Ff][Aa][Ii][Ll]|[Rr][Ee][Cc][Oo][Rr][Dd])$"}


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class BatchSubmission(Strict):
    """What a job is to do; the contract's BatchRequest."""

    method: str = Field(max_length=64, description=_METHODS)
    model: str | None = Field(
        None,
        max_length=_LOCATION_CHARACTERS,
        description="A loaded model's name, or a SavedModel's location. Default: the method's.",
    )
    input: str = Field(
        max_length=_LOCATION_CHARACTERS,
        description="Location to read: a file of JSON lines, or everything below it if it ends in '/'.",
    )
    output: str = Field(
        max_length=_LOCATION_CHARACTERS,
        description="Location below which the results are written, by the same names.",
    )
    on_error: Annotated[Literal["fail", "record"], BeforeValidator(_lower), Also(_ANY_CASE)] | None = option_field(
        ON_ERROR
    )
    max_errors: int | None = option_field(MAX_ERRORS, largest=I64)
    key_field: str | None = option_field(KEY_FIELD)

    def to_contract(self) -> BatchRequest:
        """As the server takes it."""
        on_error = None if self.on_error is None else _ON_ERROR[self.on_error]
        return BatchRequest(self.method, self.model, self.input, self.output, on_error, self.max_errors, self.key_field)


class BatchList(Strict):
    """How many jobs to list."""

    limit: int = Field(LIMIT.default, ge=LIMIT.minimum, le=LIMIT.maximum, description=LIMIT.help)


class Batches:
    """The routes' answers."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs

    async def submit(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A new job, 202 with its address."""
        fields = await read_json(BatchSubmission, request, self._settings)
        job, _ = await self._jobs.submit(fields.to_contract())
        return json_response(plain(job), request_id, 202, {"Location": f"{PATH}/{quote(job.id, safe='')}"})

    async def newest(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The newest jobs."""
        limit = read_query(BatchList, request).limit
        return json_response({"batches": plain(await self._jobs.newest(limit))}, request_id)

    async def show(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """How the job stands."""
        return json_response(plain(await self._jobs.job(_job_id(request))), request_id)

    async def cancel(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Cancel the job; how it stands then."""
        return json_response(plain(await self._jobs.cancel(_job_id(request))), request_id)

    async def resume(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Let the job go on; how it stands then."""
        return json_response(plain(await self._jobs.resume(_job_id(request))), request_id)


def _job_id(request: web.BaseRequest) -> str:
    return unquote(request.rel_url.raw_path.rpartition("/")[2])[:_ID_CHARACTERS]


def routes(settings: Settings, jobs: Jobs) -> list[Route]:
    """/batches and /batches/ID."""
    batches, job = Batches(settings, jobs), schema(BatchJob)
    return [
        Route(
            path=PATH,
            methods=GET,
            answer=batches.newest,
            name="batches",
            summary="The newest jobs",
            tag=_TAG,
            request=BatchList,
            example=Example({"limit": 10}),
            answers=(Answer({JSON: object_of(batches=array_of(job))}),),
            errors=(ErrorCode.INVALID_ARGUMENT, *SERVER_ERRORS),
        ),
        Route(
            path=PATH,
            methods=("POST",),
            answer=batches.submit,
            changes=True,
            name="submitBatch",
            summary="Files in, files out: start a job",
            tag=_TAG,
            request=BatchSubmission,
            example=Example(_EXAMPLE, status=202),
            answers=(
                Answer({JSON: job}, status=202, headers={"Location": {**STRING, "description": "The job's path."}}),
            ),
            errors=MODEL_ERRORS,
        ),
        _of_job(GET, batches.show, "batch", "How does a job stand?"),
        _of_job(
            ("DELETE",),
            batches.cancel,
            "cancelBatch",
            "Cancel a job; its record stays, and so do the results that have appeared",
        ),
        _of_job(
            ("POST",),
            batches.resume,
            "resumeBatch",
            "Let a job go on that failed or was cancelled; files that are done stay so",
            MODEL_ERRORS,
        ),
    ]


def _of_job(
    methods: tuple[str, ...],
    answer: Callable[[web.BaseRequest, str], Awaitable[web.Response]],
    name: str,
    summary: str,
    errors: tuple[int, ...] = (ErrorCode.NOT_FOUND, *SERVER_ERRORS),
) -> Route:
    """A route of one job, which the path names."""
    return Route(
        path=f"{PATH}/{{id}}",
        methods=methods,
        answer=answer,
        changes=methods != GET,
        name=name,
        summary=summary,
        tag=_TAG,
        example=Example(_EXAMPLE_ID),
        answers=(Answer({JSON: schema(BatchJob)}),),
        errors=errors,
    )
