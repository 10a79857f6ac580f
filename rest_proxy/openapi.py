"""The description of the HTTP interface: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made from the code.

Requests are described by the models that check them, the server's structs by the generated contract.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, ModelInfo, ServerStatus

from rest_proxy.contract import schema
from rest_proxy.errors import STATUS
from rest_proxy.requests import FORM, JSON, MULTIPART, PredictRequest, ReplyRequest
from rest_proxy.responses import REQUEST_ID, json_response

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.config import Settings
    from rest_proxy.requests import Prediction

_TEXT = "text/plain"
_STRING = {"type": "string"}
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
            "/api/inference": {"post": _smart_reply()},
            "/models": {"get": _models()},
            "/healthz": {"get": _operation("healthz", "Is the proxy alive?", _ok(_object(alive={"const": True})))},
            "/readyz": {"get": _readiness()},
            "/status": {"get": _operation("status", "How are the proxy and its servers?", _ok(_status()))},
            "/metrics": {
                "get": _operation("metrics", "Metrics for Prometheus", _answer("Text format", _TEXT, _STRING))
            },
            "/openapi.json": {"get": _operation("openapi", "This description", _ok({"type": "object"}))},
        },
        "components": {"responses": {"Error": _error()}},
    }


def _version() -> str:
    try:
        return metadata.version("predictor-service")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _pytext() -> dict[str, Any]:
    answer = _ok(_object(scores=_SCORES))
    answer["200"]["content"][_TEXT] = {"schema": _STRING, "example": "alarm/set_alarm:-0.0513\nweather/find:-4.21\n"}
    operation = _operation("classify", "Classify one document, as PyText's proxy did, whatever the method", answer)
    operation["parameters"] = [_parameter("doc", {**_STRING, "description": "The document; the first one counts."})]
    operation["description"] = (
        "A line `label:score` per label, sorted by label; JSON for `Accept: application/json`. An error is a line of "
        "text, or JSON likewise. A browser that opens / without a parameter gets a page to try it on."
    )
    error = _error()
    error["content"][_TEXT] = {"schema": _STRING}
    operation["responses"]["default"] = error
    return operation


def _prediction(name: str, summary: str, kind: type[Prediction], result: str) -> dict[str, Any]:
    one = _object(**{result: _SCORES})
    answer = _ok({"oneOf": [one, _object(results={"type": "array", "items": one})]})
    fields = kind.model_json_schema()
    get, post = _operation(f"{name}ByQuery", summary, answer), _operation(name, summary, answer)
    get["parameters"] = [_parameter(field, details) for field, details in fields["properties"].items()]
    post["requestBody"] = {
        "required": True,
        "content": {content_type: {"schema": fields} for content_type in (JSON, FORM, MULTIPART)},
    }
    return {"get": get, "post": post}


def _smart_reply() -> dict[str, Any]:
    several = {"type": "array", "items": _SCORES}
    answer = _object(success={"type": "boolean"})
    answer["properties"] |= {"result": {"oneOf": [_SCORES, several, _STRING]}, "message": _STRING}
    operation = _operation("inference", "Suggest replies, as smartreply did", _ok(answer))
    request = {"type": "object", "properties": {"input": {"oneOf": [_STRING, {"type": "array", "items": _STRING}]}}}
    operation["requestBody"] = {"required": True, "content": {JSON: {"schema": request}}}
    return operation


def _models() -> dict[str, Any]:
    return _operation(
        "models", "Which models are there?", _ok(_object(models={"type": "array", "items": schema(ModelInfo)}))
    )


def _readiness() -> dict[str, Any]:
    operation = _operation("readyz", "Is a server ready to predict?", _ok(_object(ready={"const": True})))
    not_ready = _object(ready={"const": False}, reasons={"type": "array", "items": _STRING})
    operation["responses"] |= _answer(_NOT_READY, JSON, not_ready, "503")
    return operation


def _status() -> dict[str, Any]:
    server = _object(
        address=_STRING,
        reachable={"type": "boolean"},
        ready={"type": "boolean"},
        reason={"type": ["string", "null"]},
        connections={"type": "integer"},
        calls={"type": "integer"},
        status={"oneOf": [schema(ServerStatus), {"type": "null"}]},
    )
    return _object(uptime_s={"type": "number"}, servers={"type": "array", "items": server})


def _error() -> dict[str, Any]:
    statuses = ", ".join(f"{ErrorCode._VALUES_TO_NAMES[code]} {status}" for code, status in STATUS.items())
    codes = {"enum": [ErrorCode._VALUES_TO_NAMES[code] for code in STATUS]}
    error = _object(error=_object(code=codes, message=_STRING, request_id=_STRING))
    return {
        "description": f"{statuses}. OVERLOADED and UNAVAILABLE may come with Retry-After, in seconds.",
        "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
        "content": {JSON: {"schema": error}},
    }


def _operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    default = {"$ref": "#/components/responses/Error"}
    return {"operationId": name, "summary": summary, "responses": {**responses, "default": default}}


def _parameter(name: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": details}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(description: str, content_type: str, content: dict[str, Any], status: str = "200") -> dict[str, Any]:
    return {status: {"description": description, "content": {content_type: {"schema": content}}}}


def _ok(content: dict[str, Any]) -> dict[str, Any]:
    return _answer("The answer", JSON, content)
