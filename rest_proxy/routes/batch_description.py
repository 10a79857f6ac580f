"""Batch jobs in the description of the HTTP interface."""

from __future__ import annotations

from typing import Any

from predictor.ttypes import BatchJob

from rest_proxy.backend.contract import schema
from rest_proxy.http.requests import JSON
from rest_proxy.openapi.parts import STRING, body, object_of, ok, operation, parameter
from rest_proxy.routes.batches import PATH, BatchList, BatchSubmission

_CANCEL = "Cancel a job; its record stays, and so do the results that have appeared"


def paths() -> dict[str, Any]:
    """The paths."""
    job = schema(BatchJob)
    submit = operation("submitBatch", "Files in, files out: start a job", {"202": ok(job)["200"]})
    submit["responses"]["202"]["headers"] = {"Location": {"description": "The job's path.", "schema": STRING}}
    submit["requestBody"] = body(BatchSubmission.model_json_schema(), JSON)
    listing = operation("batches", "The newest jobs", ok(object_of(batches={"type": "array", "items": job})))
    limit = BatchList.model_json_schema()["properties"]["limit"]
    listing["parameters"] = [parameter("limit", limit)]
    get, cancel = operation("batch", "How does a job stand?", ok(job)), operation("cancelBatch", _CANCEL, ok(job))
    get["parameters"] = cancel["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": STRING}]
    return {PATH: {"get": listing, "post": submit}, f"{PATH}/{{id}}": {"get": get, "delete": cancel}}
