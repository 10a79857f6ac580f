"""GET /v1/models and /v1/models/NAME: the models, for OpenAI's clients.

The second is TensorFlow Serving's and KServe's question for a model's state, too: its answer has what each looks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, ModelState

from rest_proxy.backend.contract import LIST_MODELS
from rest_proxy.compat.openai.errors import ERRORS
from rest_proxy.compat.tensorflow_serving.status import status_of
from rest_proxy.http.content import BOOLEAN, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import HttpError
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import GET, SERVER_ERRORS, Answer, Example, Route, path_fields

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import ModelInfo

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.content import Schema

PATH = "/v1/models"

_EXAMPLE = {"id": "gpt2", "object": "model", "created": 1764280000, "owned_by": "predictor"}
_STATE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


class Models:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._timeout_ms = settings.timeout_ms
        self._pool = pool

    async def all(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Every model that is ready."""
        models = [_model(info) for info in await self._infos() if info.state == ModelState.READY]
        return json_response({"object": "list", "data": models}, request_id)

    async def one(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The model that the path names, in any state."""
        name = path_fields((f"{PATH}/{{name}}",), request)["name"]
        info = next((one for one in await self._infos() if one.name == name), None)
        if info is None:
            raise HttpError(ErrorCode.NOT_FOUND, f"model: none is named {name[:64]!r}", field="model")
        state = {"name": name, "ready": info.state == ModelState.READY, "model_version_status": status_of(info)}
        return json_response({**_model(info), **state}, request_id)

    async def _infos(self) -> list[ModelInfo]:
        infos: list[ModelInfo] = await self._pool.call(LIST_MODELS, timeout_ms=self._timeout_ms)
        return infos


def _model(info: ModelInfo) -> dict[str, Any]:
    """`created` is when it was loaded, 0 where that is not known."""
    return {"id": info.name, "object": "model", "created": int(info.loaded_at or 0), "owned_by": "predictor"}


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/v1/models and /v1/models/NAME."""
    models = Models(settings, pool)
    fields: dict[str, Schema] = {
        "id": STRING,
        "object": {"const": "model"},
        "created": {**INTEGER, "description": "When it was loaded, in seconds since 1970; 0 where nobody knows."},
        "owned_by": STRING,
    }
    state: dict[str, Schema] = {"name": STRING, "ready": BOOLEAN, "model_version_status": {"type": "array"}}
    model = object_of(**fields)
    return [
        Route(
            path=PATH,
            methods=GET,
            answer=models.all,
            name="openaiModels",
            summary="The models, as OpenAI lists them",
            tag="openai",
            answers=(
                Answer(
                    {JSON: object_of(object={"const": "list"}, data=array_of(model))},
                    examples={JSON: {"object": "list", "data": [_EXAMPLE]}},
                ),
            ),
            errors=SERVER_ERRORS,
            error_format=ERRORS,
        ),
        Route(
            path=f"{PATH}/{{name}}",
            methods=GET,
            answer=models.one,
            name="openaiModel",
            summary="One model, as OpenAI has it, and its state, as TensorFlow Serving and KServe ask for it",
            tag="openai",
            example=Example({"name": "gpt2"}),
            answers=(
                Answer(
                    {JSON: object_of(**fields, **state)},
                    examples={JSON: {**_EXAMPLE, "name": "gpt2", "ready": True, "model_version_status": [_STATE]}},
                ),
            ),
            errors=(ErrorCode.NOT_FOUND, *SERVER_ERRORS),
            error_format=ERRORS,
        ),
    ]
