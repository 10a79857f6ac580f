"""Parts of texts: /classify_tokens and /tokenize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from predictor.ttypes import Aggregation, Entity, Token, TokenizeOptions, TokenOptions

from process.options import AGGREGATION, IGNORE_LABELS, SPECIAL_TOKENS, TRUNCATE
from rest_proxy.backend.contract import CLASSIFY_TOKENS_BATCH, TOKENIZE, schema
from rest_proxy.http.content import JSON, array_of
from rest_proxy.http.requests import option_field
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.texts import (
    TextsRequest,
    answer_each,
    fields_set,
    one_or_all,
    one_or_all_schema,
    options_of,
    read_texts,
)

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_AGGREGATIONS = {name.lower(): value for name, value in Aggregation._NAMES_TO_VALUES.items()}


class EntitiesRequest(TextsRequest):
    """Texts in which to find what has a label."""

    repeated = ("texts", "ignore_labels")

    aggregation: Literal["none", "simple", "first", "average", "max"] | None = option_field(AGGREGATION)
    ignore_labels: list[str] | None = option_field(IGNORE_LABELS)
    truncate: bool | None = option_field(TRUNCATE)

    def method_options(self) -> Any:
        """See TextsRequest."""
        return options_of(
            TokenOptions,
            aggregation=None if self.aggregation is None else _AGGREGATIONS[self.aggregation],
            ignore_labels=self.ignore_labels,
            truncate=self.truncate,
        )


class TokenizeRequest(TextsRequest):
    """Texts to split into tokens."""

    special_tokens: bool | None = option_field(SPECIAL_TOKENS)

    def method_options(self) -> Any:
        """See TextsRequest."""
        return options_of(TokenizeOptions, special_tokens=self.special_tokens)


class Parts:
    """One text in gives one object; several give {"results": [such objects]} in their order."""

    def __init__(self, settings: Settings, pool: Pool, kind: type[TextsRequest], method: Method, result: str) -> None:
        self._settings = settings
        self._pool = pool
        self._kind = kind
        self._method = method
        self._result = result

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`text` to {result: [the parts]}, `texts` to {"results": [{result: ...}]}."""
        fields = await read_texts(self._kind, request, self._settings)
        options = fields.options(self._settings, request_id, fields.items)
        answers = await answer_each(self._pool, self._method, fields, options, fields.method_options())
        return json_response(one_or_all(fields, answers, self._object), request_id)

    def _object(self, parts: list[Any]) -> dict[str, Any]:
        return {self._result: [fields_set(part) for part in parts]}


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/classify_tokens and /tokenize."""
    person = {"label": "PER", "score": 0.998, "text": "Ada Lovelace", "start": 7, "stop": 19}
    tokens = [{"id": 101, "text": "[CLS]"}, {"id": 7592, "text": "hello", "start": 0, "stop": 5}]
    return [
        Route(
            path="/classify_tokens",
            methods=GET_OR_POST,
            answer=Parts(settings, pool, EntitiesRequest, CLASSIFY_TOKENS_BATCH, "entities"),
            name="classifyTokens",
            summary="Find parts of texts that have a label, such as names",
            tag="predictions",
            request=EntitiesRequest,
            request_types=ANY_FORM,
            example=Example({"text": "we met Ada Lovelace"}),
            answers=(
                Answer(
                    {JSON: one_or_all_schema(entities=array_of(schema(Entity)))},
                    examples={JSON: {"entities": [person]}},
                ),
            ),
            errors=MODEL_ERRORS,
        ),
        Route(
            path="/tokenize",
            methods=GET_OR_POST,
            answer=Parts(settings, pool, TokenizeRequest, TOKENIZE, "tokens"),
            name="tokenize",
            summary="Split texts into the tokens of a model",
            tag="operations",
            request=TokenizeRequest,
            request_types=ANY_FORM,
            example=Example({"text": "hello"}),
            answers=(
                Answer({JSON: one_or_all_schema(tokens=array_of(schema(Token)))}, examples={JSON: {"tokens": tokens}}),
            ),
            errors=MODEL_ERRORS,
        ),
    ]
