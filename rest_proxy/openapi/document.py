"""The description of the HTTP interface: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made from the code.

Requests are described by the models that check them, the server's structs by the generated contract.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from predictor.ttypes import Generation, ModelInfo, ServerStatus

from rest_proxy.backend.contract import schema
from rest_proxy.compat import embedded_tf, nlp_microservice
from rest_proxy.compat.nlp_microservice import TextRequest
from rest_proxy.compat.openai import description as openai_description
from rest_proxy.http.requests import FORM, JSON, MULTIPART, PredictRequest, ReplyRequest
from rest_proxy.http.responses import REQUEST_ID, json_response
from rest_proxy.openapi.parts import (
    EVENTS,
    STRING,
    TEXT,
    answer_of,
    body,
    by_query_or_body,
    error_answer,
    object_of,
    ok,
    operation,
    parameter,
)
from rest_proxy.routes import batch_description
from rest_proxy.routes.embeddings import BINARY, COLUMNS, ROWS, EmbedRequest
from rest_proxy.routes.generation import GenerateRequest

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.config import Settings
    from rest_proxy.http.requests import Prediction

_SCORES = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
_NOT_READY = "No server is ready; the reasons say why."


class OpenApi:
    """GET /openapi.json."""

    def __init__(self, settings: Settings) -> None:
        self._document = document(settings)

    async def __call__(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The description, for the limits that this proxy runs with."""
        return json_response(self._document, request_id)


def document(settings: Settings) -> dict[str, Any]:
    """The whole description as a JSON object."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Prediction service",
            "version": _version(),
            "description": f"Every path answers with the header {REQUEST_ID}: the request's own, or a new one. "
            f"Any path that is not described here answers as `/` does. Limits: {settings.max_body_bytes} bytes body, "
            f"{settings.max_line_bytes} bytes URL, {settings.max_docs} documents, {settings.max_timeout_ms} ms.",
        },
        "paths": {
            "/": {"get": _pytext()},
            "/predict": _prediction("predict", "Classify documents", PredictRequest, "scores"),
            "/reply": _prediction("reply", "Suggest replies to messages", ReplyRequest, "replies"),
            "/embed": _embed(),
            "/generate": {"post": _generate()},
            **openai_description.paths(),
            "/api/inference": {"post": _smart_reply()},
            nlp_microservice.PATH: {"post": _text_generation()},
            "/swagger.json": {"get": operation("swagger", "The same in Swagger 2.0", ok({"type": "object"}))},
            "/swagger": {"get": operation("page", "A page to try it on", answer_of("The page", "text/html", STRING))},
            **batch_description.paths(),
            "/models": {"get": _models()},
            "/healthz": {"get": operation("healthz", "Is the proxy alive?", ok(object_of(alive={"const": True})))},
            "/readyz": {"get": _readiness()},
            "/status": {"get": operation("status", "How are the proxy and its servers?", ok(_status()))},
            "/metrics": {"get": operation("metrics", "Metrics for Prometheus", answer_of("Text format", TEXT, STRING))},
            "/openapi.json": {"get": operation("openapi", "This description", ok({"type": "object"}))},
        },
        "components": {
            "schemas": openai_description.schemas(),
            "responses": {
                "Error": error_answer(),
                "Message": error_answer(object_of(message=STRING)),
                "OpenAiError": openai_description.error_answer(),
            },
        },
    }


def _version() -> str:
    try:
        return metadata.version("predictor-service")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _pytext() -> dict[str, Any]:
    answer = ok(object_of(scores=_SCORES))
    answer["200"]["content"][TEXT] = {"schema": STRING, "example": "alarm/set_alarm:-0.0513\nweather/find:-4.21\n"}
    described = operation("classify", "Classify one document, as PyText's proxy did, whatever the method", answer)
    described["parameters"] = [
        parameter("doc", {**STRING, "description": "The document; the first one counts."}),
        *(parameter(name, {**STRING, "description": "embedded-tf's; see below."}) for name in embedded_tf.PARAMETERS),
    ]
    described["description"] = (
        "A line `label:score` per label, sorted by label; JSON for `Accept: application/json`. An error is a line of "
        "text, or JSON likewise. A browser that opens / without a parameter gets a page to try it on. "
        "GET / without `doc`, with `model`, `input` and `output` is embedded-tf's: it predicts the files at `input` "
        "with the SavedModel at `model` into `output` as a job, and answers when the job has ended; the job goes on "
        f"when the client goes away, and the header {embedded_tf.JOB_ID} of the answer names it."
    )
    error = error_answer()
    error["content"][TEXT] = {"schema": STRING}
    described["responses"]["default"] = error
    return described


def _prediction(name: str, summary: str, kind: type[Prediction], result: str) -> dict[str, Any]:
    one = object_of(**{result: _SCORES})
    answer = ok({"oneOf": [one, object_of(results={"type": "array", "items": one})]})
    return by_query_or_body(name, summary, kind, answer)


def _embed() -> dict[str, Any]:
    vector = {"type": "array", "items": {"type": ["number", "null"]}}
    answer = ok(object_of(embeddings={"type": "array", "items": vector}))
    answer["200"]["content"][BINARY] = {"schema": {"type": "string", "format": "binary"}}
    answer["200"]["headers"] = {
        ROWS: {"description": f"For {BINARY}: vectors.", "schema": {"type": "integer"}},
        COLUMNS: {"description": f"For {BINARY}: numbers in a vector.", "schema": {"type": "integer"}},
    }
    return by_query_or_body("embed", "Turn texts into vectors; `message` as smls had it", EmbedRequest, answer)


def _generate() -> dict[str, Any]:
    answer = ok(schema(Generation))
    answer["200"]["content"][EVENTS] = {"schema": STRING, "example": 'data: {"text":" new","token_count":1}\n\n'}
    described = operation("generate", "Go on from a prompt", answer)
    described["description"] = (
        "With `stream` server-sent events: each is a GenerationChunk of the contract, the last one has a finish_reason "
        "or is of the type `error`. A client that goes away ends the work."
    )
    described["requestBody"] = body(GenerateRequest.model_json_schema(), JSON, FORM, MULTIPART)
    return described


def _smart_reply() -> dict[str, Any]:
    several = {"type": "array", "items": _SCORES}
    answer = object_of(success={"type": "boolean"})
    answer["properties"] |= {"result": {"oneOf": [_SCORES, several, STRING]}, "message": STRING}
    described = operation("inference", "Suggest replies, as smartreply did", ok(answer))
    request = {"type": "object", "properties": {"input": {"oneOf": [STRING, {"type": "array", "items": STRING}]}}}
    described["requestBody"] = body(request, JSON)
    return described


def _text_generation() -> dict[str, Any]:
    answer = ok(object_of(input=STRING, generated=STRING))
    described = operation("textGeneration", "Go on from a text, as NLP-Microservice did", answer, "Message")
    described["requestBody"] = body(TextRequest.model_json_schema(), JSON)
    return described


def _models() -> dict[str, Any]:
    return operation(
        "models", "Which models are there?", ok(object_of(models={"type": "array", "items": schema(ModelInfo)}))
    )


def _readiness() -> dict[str, Any]:
    described = operation("readyz", "Is a server ready to predict?", ok(object_of(ready={"const": True})))
    not_ready = object_of(ready={"const": False}, reasons={"type": "array", "items": STRING})
    described["responses"] |= answer_of(_NOT_READY, JSON, not_ready, "503")
    return described


def _status() -> dict[str, Any]:
    server = object_of(
        address=STRING,
        reachable={"type": "boolean"},
        ready={"type": "boolean"},
        reason={"type": ["string", "null"]},
        connections={"type": "integer"},
        calls={"type": "integer"},
        status={"oneOf": [schema(ServerStatus), {"type": "null"}]},
    )
    return object_of(uptime_s={"type": "number"}, servers={"type": "array", "items": server})
