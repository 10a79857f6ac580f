"""Batch jobs: POST /batches, GET /batches, GET /batches/ID, DELETE /batches/ID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote, unquote

from predictor.ttypes import BatchRequest, OnError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rest_proxy.backend.contract import plain
from rest_proxy.http.requests import read_json, read_query
from rest_proxy.http.responses import json_response

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.jobs import Jobs
    from rest_proxy.config import Settings

PATH = "/batches"
MOST_LISTED = 1000

_ID_CHARACTERS = 128
_EXAMPLE = {"method": "predict", "input": "/data/documents/", "output": "/data/scores/"}
_ON_ERROR = {"fail": OnError.FAIL, "record": OnError.RECORD}


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class BatchSubmission(BaseModel):
    """What a job is to do; the contract's BatchRequest."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": dict(_EXAMPLE)})

    method: str = Field(max_length=64, description="predict, reply, embed or generate.")
    model: str | None = Field(
        None, max_length=4096, description="A loaded model's name, or a SavedModel's location. Default: the method's."
    )
    input: str = Field(
        max_length=4096, description="Location to read: a file of JSON lines, or all below it if it ends in '/'."
    )
    output: str = Field(max_length=4096, description="Location below which the results appear, by the same names.")
    on_error: Annotated[Literal["fail", "record"], BeforeValidator(_lower)] | None = Field(
        None, description="What a line that cannot be predicted does: fail the job, or become an error object."
    )
    max_errors: int | None = Field(None, ge=0, lt=1 << 63, description="With record: more errors fail the job.")
    key_field: str | None = Field(None, max_length=256, description="A field that each result takes from its line.")

    def to_contract(self) -> BatchRequest:
        """As the server takes it."""
        on_error = None if self.on_error is None else _ON_ERROR[self.on_error]
        return BatchRequest(self.method, self.model, self.input, self.output, on_error, self.max_errors, self.key_field)


class BatchList(BaseModel):
    """How many jobs are wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(100, ge=1, le=MOST_LISTED, description="Jobs at most, the newest first.")


class Batches:
    """The routes."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs

    async def all(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """POST: a new job, 202 with its address. GET: the newest ones."""
        if request.method == "POST":
            asked = await read_json(BatchSubmission, request, self._settings)
            job, _ = await self._jobs.submit(asked.to_contract())
            return json_response(plain(job), request_id, 202, {"Location": f"{PATH}/{quote(job.id, safe='')}"})
        limit = read_query(BatchList, request).limit
        return json_response({"batches": plain(await self._jobs.newest(limit))}, request_id)

    async def one(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """GET: how the job stands. DELETE: cancel it; how it stands then. Its record stays."""
        job_id = unquote(request.rel_url.raw_path.rpartition("/")[2])[:_ID_CHARACTERS]
        ask = self._jobs.cancel if request.method == "DELETE" else self._jobs.job
        return json_response(plain(await ask(job_id)), request_id)
