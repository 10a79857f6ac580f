"""Where text-embeddings-inference's requests are answered: at paths of their own, and at ours beside our own.

A body in JSON with `inputs` is its own; ours have no such field. Of its root path only POST is taken, because a GET of
it is PyText's.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aiohttp import web
from predictor.ttypes import ErrorCode
from pydantic_core import from_json

from rest_proxy.compat.tei.answers import TextEmbeddingsInference
from rest_proxy.compat.tei.info import Info
from rest_proxy.compat.tei.pipelines import (
    LabelsRequest,
    Pipelines,
    SimilarityRequest,
    TextRequest,
    TokensRequest,
    task_of,
)
from rest_proxy.compat.tei.requests import (
    EmbedAllRequest,
    EmbedRequest,
    PredictRequest,
    SparseRequest,
    TokenizeRequest,
)
from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.content import BOOLEAN, INTEGER, JSON, NUMBER, STRING, TEXT, Schema, array_of, object_of
from rest_proxy.http.responses import ERROR, ErrorFormat, error_headers, json_response
from rest_proxy.http.route import GET, MODEL_ERRORS, SERVER_ERRORS, Answer, Entrance, Example, Route
from rest_proxy.routes.ranking import Rerank, RerankRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pydantic import BaseModel

    from rest_proxy.backend.generation import Generator
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

    Answering = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]

_TAG = "text-embeddings-inference"
_THEIRS = web.RequestKey("theirs", bool)  # set in a request that is text-embeddings-inference's
_NOTE = "With `inputs` it is text-embeddings-inference's: requests and answers have its form."
_ERROR_TYPES = {"OVERLOADED": "Overloaded", "UNAVAILABLE": "Unhealthy", "INTERNAL": "Backend"}

_OPTIONAL_INTEGER: Schema = {"type": ["integer", "null"]}
_PAIRS = array_of(array_of(object_of(index=INTEGER, value=NUMBER)))
_LABELS = array_of(object_of(score=NUMBER, label=STRING))
_TOKENS = array_of(
    array_of(object_of(id=INTEGER, text=STRING, special=BOOLEAN, start=_OPTIONAL_INTEGER, stop=_OPTIONAL_INTEGER))
)
_VECTORS = array_of(array_of(NUMBER))
_OF_ANY_TASK: Schema = {
    "anyOf": [
        _VECTORS,
        array_of(NUMBER),
        array_of({"type": "object"}),
        array_of(array_of({"type": "object"})),
        object_of(results=array_of({"type": "object"})),  # Cohere's
        object_of(scores={"type": "object"}),  # PyText's
    ]
}
_ENTITIES = array_of(object_of(word=STRING, score=NUMBER, start=INTEGER, end=INTEGER))


class Beside:
    """A route's own answer, or text-embeddings-inference's to a body in JSON with `inputs`.

    `pipeline` answers one that has `parameters` too, as huggingface_hub's client sends it.
    """

    def __init__(
        self, settings: Settings, own: Answering, theirs: Answering | None, pipeline: Answering | None = None
    ) -> None:
        self._settings = settings
        self._own = own
        self._theirs = theirs or pipeline
        self._pipeline = pipeline or theirs

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """By the body."""
        content = await theirs_in(request, self._settings)
        answer = self._own
        if content is not None and self._theirs is not None and self._pipeline is not None:
            request[_THEIRS] = True
            answer = self._pipeline if "parameters" in content else self._theirs
        return await answer(request, request_id)


class Root:
    """POST /: what a request asks for, or what the models can do with it."""

    def __init__(self, settings: Settings, pool: Pool, generator: Generator) -> None:
        self._settings = settings
        self._pool = pool
        theirs, pipelines = TextEmbeddingsInference(settings, pool), Pipelines(settings, pool, generator)
        self._tasks: dict[str, Answering] = {
            "embed": theirs.embed,
            "predict": theirs.predict,
            "rerank": Rerank(settings, pool, RerankRequest),
            "similarity": pipelines.similarity,
            "labels": pipelines.labels,
            "tokens": pipelines.tokens,
            "text": pipelines.text,
        }

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """By the body."""
        request[_THEIRS] = True
        return await self._tasks[await task_of(request, self._settings, self._pool)](request, request_id)


async def theirs_in(request: web.BaseRequest, settings: Settings) -> dict[str, Any] | None:
    """The request's body, if it is in JSON with `inputs`, and there is no query. Raises HttpError for no body."""
    if request.content_type != JSON or request.rel_url.raw_query_string:
        return None
    body = await read_body(request, settings, again=True)
    if b'"inputs"' not in body:
        return None
    try:
        content = from_json(body)
    except ValueError:  # said by the route itself
        return None
    return content if isinstance(content, dict) and "inputs" in content else None


def _claims(request: web.BaseRequest) -> bool:
    url = request.rel_url
    return (
        request.method == "POST" and url.raw_path == "/" and not url.raw_query_string and request.content_type == JSON
    )


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """The message is the value of `error`; what is ours stands beside it."""
    own = {"field": error.field, "setting": error.setting}
    content = {
        "error": error.message,
        "error_type": _ERROR_TYPES.get(error.code, "Validation"),
        "code": error.code,
        **{name: value for name, value in own.items() if value is not None},
        "request_id": request_id,
    }
    return json_response(content, request_id, error.status, error_headers(error))


_SCHEMA = object_of(error=STRING, error_type=STRING, code=STRING, request_id=STRING)
_ERRORS = ErrorFormat("TextEmbeddingsInferenceError", _error, {JSON: _SCHEMA})
_ERRORS_AT_ROOT = ErrorFormat("ErrorAtRoot", _error, {JSON: {"anyOf": [ERROR, _SCHEMA]}, TEXT: STRING})


def _errors_beside(own: ErrorFormat) -> ErrorFormat:
    def respond(error: HttpError, request: web.BaseRequest, request_id: str) -> web.Response:
        return (_error if _THEIRS in request else own.respond)(error, request, request_id)

    return ErrorFormat("ErrorInEitherForm", respond, {JSON: {"anyOf": [ERROR, _SCHEMA]}})


def beside(routes: Sequence[Route], settings: Settings, pool: Pool, generator: Generator) -> list[Route]:
    """Our own routes; those whose paths text-embeddings-inference has too answer its requests as well."""
    theirs, pipelines = TextEmbeddingsInference(settings, pool), Pipelines(settings, pool, generator)
    forms: dict[str, tuple[Answering | None, Answering | None, tuple[type[BaseModel], ...], Schema]] = {
        "/embed": (theirs.embed, None, (EmbedRequest,), _VECTORS),
        "/embed_sparse": (theirs.embed_sparse, None, (SparseRequest,), _PAIRS),
        "/predict": (
            theirs.predict,
            pipelines.labels,
            (PredictRequest, LabelsRequest),
            {"anyOf": [_LABELS, array_of(_LABELS)]},
        ),
        "/classify_tokens": (
            None,
            pipelines.tokens,
            (TokensRequest,),
            {"anyOf": [_ENTITIES, array_of(_ENTITIES)]},
        ),
        "/tokenize": (theirs.tokenize, None, (TokenizeRequest,), _TOKENS),
    }
    return [_beside(settings, route, *forms[route.path]) if route.path in forms else route for route in routes]


def _beside(
    settings: Settings,
    route: Route,
    answer: Answering | None,
    pipeline: Answering | None,
    kinds: tuple[type[BaseModel], ...],
    schema: Schema,
) -> Route:
    first, *others = route.answers
    either = dataclasses.replace(first, content={**first.content, JSON: {"anyOf": [first.content[JSON], schema]}})
    return dataclasses.replace(
        route,
        answer=Beside(settings, route.answer, answer, pipeline),
        answers=(either, *others),
        further_requests=(*route.further_requests, *kinds),
        description=f"{route.description} {_NOTE}".lstrip(),
        error_format=_errors_beside(route.error_format),
    )


def routes(settings: Settings, pool: Pool, generator: Generator) -> list[Route]:
    """POST /, /embed_all, /similarity, /info and /health."""
    info = Info(settings, pool)
    return [
        _root(settings, pool, generator),
        *_of_texts(settings, pool, generator),
        _info(info),
        _health(info),
    ]


def _root(settings: Settings, pool: Pool, generator: Generator) -> Route:
    return Route(
        path="/",
        methods=("POST",),
        answer=Root(settings, pool, generator),
        name="teiRoot",
        summary="What a request asks for, or what the models can do with it, as text-embeddings-inference has it",
        description="Whatever comes without a body in JSON, or with a query, is PyText's, as by any other method.",
        tag=_TAG,
        request=EmbedRequest,
        further_requests=(PredictRequest, RerankRequest, SimilarityRequest, LabelsRequest, TokensRequest, TextRequest),
        example=Example({"inputs": ["Hello world!"]}),
        answers=(Answer({JSON: _OF_ANY_TASK, TEXT: STRING}),),
        errors=MODEL_ERRORS,
        error_format=_ERRORS_AT_ROOT,
        claims=_claims,
        label="POST /",
    )


def _of_texts(settings: Settings, pool: Pool, generator: Generator) -> list[Route]:
    return [
        Route(
            path="/embed_all",
            methods=("POST",),
            answer=TextEmbeddingsInference(settings, pool).embed_all,
            name="teiEmbedAll",
            summary="Turn each token of texts into a vector, as text-embeddings-inference does",
            tag=_TAG,
            request=EmbedAllRequest,
            example=Example({"inputs": ["Hello world!"]}),
            answers=(Answer({JSON: array_of(_VECTORS)}),),
            errors=MODEL_ERRORS,
            error_format=_ERRORS,
        ),
        Route(
            path="/similarity",
            methods=("POST",),
            answer=Pipelines(settings, pool, generator).similarity,
            name="teiSimilarity",
            summary="How alike are sentences to one? As text-embeddings-inference says it",
            tag=_TAG,
            request=SimilarityRequest,
            example=Example({"inputs": {"source_sentence": "Hello world!", "sentences": ["Hello!", "Goodbye!"]}}),
            answers=(Answer({JSON: array_of(NUMBER)}),),
            errors=MODEL_ERRORS,
            error_format=_ERRORS,
        ),
    ]


def _info(info: Info) -> Route:
    described = object_of(model_id=STRING, model_sha=STRING, model_dtype=STRING, model_type={"type": "object"})
    return Route(
        path="/info",
        methods=GET,
        answer=info.info,
        name="teiInfo",
        summary="Which model is there? As text-embeddings-inference says it",
        tag=_TAG,
        request={"type": "object", "properties": {"model": {**STRING, "description": "Another than the first."}}},
        answers=(Answer({JSON: described}),),
        errors=(ErrorCode.NOT_FOUND, *SERVER_ERRORS),
        error_format=_ERRORS,
    )


def _health(info: Info) -> Route:
    return Route(
        path="/health",
        methods=GET,
        answer=info.health,
        name="teiHealth",
        summary="Is a server ready? The status alone says it",
        tag=_TAG,
        answers=(
            Answer({TEXT: STRING}),
            Answer({TEXT: STRING}, status=503, description="No server is ready."),
        ),
        bounded=False,
        entrance=Entrance.OPEN,
    )
