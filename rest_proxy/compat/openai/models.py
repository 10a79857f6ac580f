"""GET /v1/models and /v1/models/NAME: the models that OpenAI's routes can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from predictor.ttypes import ErrorCode, ModelState

from rest_proxy.backend.contract import LIST_MODELS
from rest_proxy.compat.openai.errors import ERRORS
from rest_proxy.http.content import INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import HttpError
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import GET, SERVER_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import ModelInfo

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

PATH = "/v1/models"

_METHODS = {"embed_matrix", "generate", "chat"}  # a model that serves none of them has no place in this API
_EXAMPLE = {"id": "gpt2", "object": "model", "created": 0, "owned_by": "predictor"}


class Models:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._timeout_ms = settings.timeout_ms
        self._pool = pool

    async def all(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Every model that embeds or generates."""
        models = await self._models()
        return json_response({"object": "list", "data": list(models.values())}, request_id)

    async def one(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The model that the path names."""
        models = await self._models()
        name = unquote(request.rel_url.raw_path.removeprefix(f"{PATH}/"))
        if name not in models:
            raise HttpError(ErrorCode.NOT_FOUND, f"model: no {name[:64]!r} embeds or generates", field="model")
        return json_response(models[name], request_id)

    async def _models(self) -> dict[str, dict[str, Any]]:
        infos = await self._pool.call(LIST_MODELS, timeout_ms=self._timeout_ms)
        return {info.name: _model(info) for info in infos if _can_be_asked(info)}


def _can_be_asked(info: ModelInfo) -> bool:
    return info.state == ModelState.READY and not _METHODS.isdisjoint(info.methods)


def _model(info: ModelInfo) -> dict[str, Any]:
    return {"id": info.name, "object": "model", "created": 0, "owned_by": "predictor"}  # no one knows when


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/v1/models and /v1/models/NAME."""
    models = Models(settings, pool)
    model = object_of(id=STRING, object={"const": "model"}, created=INTEGER, owned_by=STRING)
    return [
        Route(
            path=PATH,
            methods=GET,
            answer=models.all,
            name="openaiModels",
            summary="The models for OpenAI's routes",
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
            summary="One model, as OpenAI has it",
            tag="openai",
            example=Example({"name": "gpt2"}),
            answers=(Answer({JSON: model}, examples={JSON: _EXAMPLE}),),
            errors=(ErrorCode.NOT_FOUND, *SERVER_ERRORS),
            error_format=ERRORS,
        ),
    ]
