"""NLP-Microservice's service: POST /text-generation/generate, and its description at /swagger.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from predictor.ttypes import ErrorCode
from pydantic import Field

from rest_proxy.http.content import HTML, JSON, STRING, TEXT, object_of
from rest_proxy.http.pages import Page, SwaggerUi
from rest_proxy.http.requests import read_json
from rest_proxy.http.responses import ErrorFormat, error_headers, json_response
from rest_proxy.http.route import GET, MODEL_ERRORS, Answer, Entrance, Example, Route
from rest_proxy.openapi.swagger import swagger_document
from rest_proxy.routes.generation import GenerationRequest

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.generation import Generator
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

_TAG = "text-generation"
_NOT_ALLOWED = "The method is not allowed for the requested URL."  # what Flask says, and the old service said


class TextRequest(GenerationRequest):
    """A text, and the options that the old service did not have."""

    repeated: ClassVar[tuple[str, ...]] = ()

    text: str = Field(description="The text to continue.")


class TextGeneration:
    """POST /text-generation/generate."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`{"text": ...}` to `{"input": the text, "generated": how it continues}`."""
        fields = await read_json(TextRequest, request, self._settings)
        options = fields.options(self._settings, request_id)
        with self._generator.places():
            text = await self._generator.whole(fields.text, fields.generation_options(), options)
        return json_response({"input": fields.text, "generated": text.continuation}, request_id)


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """An error as the old service gave it."""
    message = _NOT_ALLOWED if error.status == 405 else error.message
    return json_response({"message": message}, request_id, error.status, error_headers(error))


ERRORS = ErrorFormat("TextGenerationError", _error, {JSON: object_of(message=STRING)})


class Swagger:
    """GET /swagger.json: the route in Swagger 2.0."""

    def __init__(self, route: Route) -> None:
        self._document = swagger_document(route, "Text generation", "As NLP-Microservice had it.")

    async def __call__(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The document."""
        return json_response(self._document, request_id)


def routes(settings: Settings, generator: Generator) -> list[Route]:
    """/text-generation/generate, its description and a page."""
    text = "Artificial Intelligence is a"
    generate = Route(
        path="/text-generation/generate",
        methods=("POST",),
        answer=TextGeneration(settings, generator),
        name="textGeneration",
        summary="Continue a text, as NLP-Microservice did",
        tag=_TAG,
        request=TextRequest,
        example=Example({"text": text}),
        answers=(
            Answer(
                {JSON: object_of(input=STRING, generated=STRING)},
                description="The text and how it continues",
                examples={JSON: {"input": text, "generated": " new field"}},
            ),
        ),
        errors=MODEL_ERRORS,
        error_format=ERRORS,
        call_fields={"prompt": "text"},
    )
    return [
        generate,
        Route(
            path="/swagger.json",
            methods=GET,
            answer=Swagger(generate),
            name="swagger",
            summary="The same in Swagger 2.0",
            tag=_TAG,
            answers=(Answer({JSON: {"type": "object"}}),),
            bounded=False,
            entrance=Entrance.OPEN,
        ),
        Route(
            path="/swagger",
            methods=GET,
            answer=Page("swagger.html", with_styles=True),
            name="page",
            summary="A page to try it and every other route on: Swagger UI",
            tag=_TAG,
            answers=(Answer({HTML: STRING}, description="The page"),),
            bounded=False,
            entrance=Entrance.OPEN,
        ),
        Route(
            path="/swagger-ui/{file}",
            methods=GET,
            answer=SwaggerUi(),
            name="swaggerUi",
            summary="Swagger UI's files",
            tag=_TAG,
            example=Example({"file": "swagger-ui.css"}),
            answers=(Answer({"text/css": STRING, "text/javascript": STRING, TEXT: STRING}, description="The file"),),
            errors=(ErrorCode.NOT_FOUND,),
            bounded=False,
            entrance=Entrance.OPEN,
        ),
    ]
