"""NLP-Microservice's service: POST /text-generation/generate, and its description at /swagger.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from rest_proxy.http.requests import JSON, read_json
from rest_proxy.http.responses import error_headers, json_response
from rest_proxy.routes.generation import GenerationAsked

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.generation import Generator
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

PATH = "/text-generation/generate"
_NOT_ALLOWED = "The method is not allowed for the requested URL."  # what Flask says, and the old service said


class TextRequest(GenerationAsked):
    """A text, and what the old service did not let one say."""

    repeated: ClassVar[str | None] = None

    text: str = Field(description="The text to go on from.")


class TextGeneration:
    """POST /text-generation/generate."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`{"text": ...}` to `{"input": the text, "generated": how it goes on}`."""
        asked = await read_json(TextRequest, request, self._settings)
        options = asked.options(self._settings, request_id)
        with self._generator.places():
            text = await self._generator.whole(asked.text, asked.generation_options(), options)
        return json_response({"input": asked.text, "generated": text.continuation}, request_id)


def fail(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """An error as the old service gave it."""
    message = _NOT_ALLOWED if error.status == 405 else error.message
    return json_response({"message": message}, request_id, error.status, error_headers(error))


class Swagger:
    """GET /swagger.json: the route in Swagger 2.0 (https://swagger.io/specification/v2/)."""

    def __init__(self) -> None:
        self._document = document()

    async def __call__(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The description."""
        return json_response(self._document, request_id)


def document() -> dict[str, Any]:
    """The description as a JSON object."""
    request = TextRequest.model_json_schema()
    properties = {name: _in_swagger_2(field) for name, field in request["properties"].items()}
    text = {"type": "string"}
    answers = {
        "200": _answer("The text and how it goes on", {"input": text, "generated": text}),
        "default": _answer("What is wrong", {"message": text}),
    }
    operation = {
        "operationId": "post_text_generation",
        "summary": "Go on from a text",
        "tags": ["text-generation"],
        "parameters": [{"name": "payload", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Text"}}],
        "responses": answers,
    }
    return {
        "swagger": "2.0",
        "info": {"title": "Text generation", "version": "1.0", "description": "As NLP-Microservice had it."},
        "basePath": "/",
        "consumes": [JSON],
        "produces": [JSON],
        "tags": [{"name": "text-generation"}],
        "paths": {PATH: {"post": operation}},
        "definitions": {
            "Text": {
                "type": "object",
                "properties": properties,
                "required": request["required"],
                "example": {"text": "Artificial Intelligence is a"},
            }
        },
    }


def _answer(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": description, "schema": schema}


def _in_swagger_2(field: dict[str, Any]) -> dict[str, Any]:
    """A field that may be null as one that may be left out, because Swagger 2.0 has no null."""
    described = {name: value for name, value in field.items() if name not in ("anyOf", "default", "title")}
    described |= next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), {})
    if "exclusiveMinimum" in described:
        described |= {"minimum": described["exclusiveMinimum"], "exclusiveMinimum": True}
    return described
