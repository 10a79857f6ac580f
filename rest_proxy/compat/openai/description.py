"""OpenAI's routes in the description of the HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_proxy.compat.openai.requests import CompletionsRequest, EmbeddingsRequest, StreamOptions
from rest_proxy.http.requests import JSON
from rest_proxy.openapi import parts as openapi_parts
from rest_proxy.openapi.parts import EVENTS, STRING, body, object_of, ok, operation

if TYPE_CHECKING:
    from rest_proxy.http.requests import Asked

_INTEGER = {"type": "integer"}
_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}


def paths() -> dict[str, Any]:
    """The paths."""
    named = _operation("openaiModel", "One model, as OpenAI has it", _model())
    named["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": STRING}]
    models = _operation("openaiModels", "The models for OpenAI's routes", _list(_model()))
    return {
        "/v1/embeddings": {"post": _embeddings()},
        "/v1/completions": {"post": _completions()},
        "/v1/models": {"get": models},
        "/v1/models/{name}": {"get": named},
    }


def schemas() -> dict[str, Any]:
    """The common schemas that the paths refer to."""
    return {StreamOptions.__name__: StreamOptions.model_json_schema()}


def error_answer() -> dict[str, Any]:
    """The answer when something is wrong, as OpenAI has it."""
    param = {"type": ["string", "null"]}
    return openapi_parts.error_answer(object_of(error=object_of(message=STRING, type=STRING, param=param, code=STRING)))


def _embeddings() -> dict[str, Any]:
    item = object_of(object={"const": "embedding"}, index=_INTEGER, embedding={"oneOf": [STRING, _NUMBERS]})
    answer = _list(item)
    answer["properties"] |= {"model": STRING, "usage": object_of(prompt_tokens=_INTEGER, total_tokens=_INTEGER)}
    described = _operation("openaiEmbeddings", "Turn texts into vectors, as OpenAI does", answer, EmbeddingsRequest)
    described["description"] = (
        "`usage` counts the tokens that the model read; where it does not tell, 4 bytes are taken for one."
    )
    return described


def _completions() -> dict[str, Any]:
    reason = {"enum": ["length", "stop", "cancelled"]}
    choice = object_of(index=_INTEGER, text=STRING, logprobs={"type": "null"}, finish_reason=reason)
    answer = object_of(
        id=STRING,
        object={"const": "text_completion"},
        created=_INTEGER,
        model=STRING,
        choices={"type": "array", "items": choice},
        usage=object_of(prompt_tokens=_INTEGER, completion_tokens=_INTEGER, total_tokens=_INTEGER),
    )
    described = _operation("openaiCompletions", "Go on from prompts, as OpenAI does", answer, CompletionsRequest)
    described["responses"]["200"]["content"][EVENTS] = {"schema": STRING}
    described["description"] = "`usage` counts the tokens of the prompts and of the texts."
    return described


def _model() -> dict[str, Any]:
    return object_of(id=STRING, object={"const": "model"}, created=_INTEGER, owned_by=STRING)


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return object_of(object={"const": "list"}, data={"type": "array", "items": item})


def _operation(name: str, summary: str, answer: dict[str, Any], asked: type[Asked] | None = None) -> dict[str, Any]:
    described = operation(name, summary, ok(answer), "OpenAiError")
    if asked is not None:
        schema = asked.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)  # they are among schemas()
        described["requestBody"] = body(schema, JSON)
    return described
