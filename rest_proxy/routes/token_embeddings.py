"""Vectors over the vocabulary and vectors of tokens: /embed_sparse and /embed_tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from predictor.ttypes import SparseOptions, SparseVector

from process.options import MAX_ACTIVE_DIMS, PROMPT, PROMPT_NAME, TOKENS, TRUNCATE, TRUNCATION_SIDE
from rest_proxy.backend.contract import EMBED_SPARSE, EMBED_TOKENS, schema
from rest_proxy.http.content import JSON, NUMBER, array_of, object_of
from rest_proxy.http.requests import option_field
from rest_proxy.http.responses import numbers_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.embeddings import SIDES, VectorRequest, embedded_rows
from rest_proxy.routes.texts import TextsRequest, answer_each, fields_set, options_of, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_TAG = "embeddings"


class SparseRequest(TextsRequest):
    """Texts to embed as sparse vectors."""

    truncate: bool | None = option_field(TRUNCATE)
    truncation_side: Literal["right", "left"] | None = option_field(TRUNCATION_SIDE)
    prompt_name: str | None = option_field(PROMPT_NAME)
    prompt: str | None = option_field(PROMPT)
    max_active_dims: int | None = option_field(MAX_ACTIVE_DIMS)
    tokens: bool | None = option_field(TOKENS)

    def method_options(self) -> Any:
        """See TextsRequest."""
        return options_of(
            SparseOptions,
            truncate=self.truncate,
            truncation_side=None if self.truncation_side is None else SIDES[self.truncation_side],
            prompt_name=self.prompt_name,
            prompt=self.prompt,
            max_active_dims=self.max_active_dims,
            tokens=self.tokens,
        )


class TokenVectorsRequest(TextsRequest, VectorRequest):
    """Texts whose tokens are to be embedded."""

    def method_options(self) -> Any:
        """See TextsRequest."""
        return self.embed_options()


class Vectors:
    """{"embeddings": [one for each text]}, also of one text, as /embed answers."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        kind: type[TextsRequest],
        method: Method,
        vectors: Callable[[Any], Any],
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._kind = kind
        self._method = method
        self._vectors = vectors

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The vectors of `text` or of `texts`, in their order."""
        fields = await read_texts(self._kind, request, self._settings)
        options = fields.options(self._settings, request_id, fields.items)
        answers = await answer_each(self._pool, self._method, fields, options, fields.method_options())
        return numbers_response({"embeddings": list(map(self._vectors, answers))}, request_id)


def _sparse(vector: SparseVector) -> dict[str, Any]:
    values = np.array(vector.values, np.float32)  # in as few digits as these need
    return fields_set(vector) | {"values": values}


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/embed_sparse and /embed_tokens."""
    sparse = {"indices": [7592, 2088], "values": [1.37, 0.92]}
    return [
        Route(
            path="/embed_sparse",
            methods=GET_OR_POST,
            answer=Vectors(settings, pool, SparseRequest, EMBED_SPARSE, _sparse),
            name="embedSparse",
            summary="Turn texts into sparse vectors over the vocabulary (SPLADE)",
            tag=_TAG,
            request=SparseRequest,
            request_types=ANY_FORM,
            example=Example({"texts": ["Hello world!"]}),
            answers=(
                Answer(
                    {JSON: object_of(embeddings=array_of(schema(SparseVector)))},
                    examples={JSON: {"embeddings": [sparse]}},
                ),
            ),
            errors=MODEL_ERRORS,
        ),
        Route(
            path="/embed_tokens",
            methods=GET_OR_POST,
            answer=Vectors(settings, pool, TokenVectorsRequest, EMBED_TOKENS, embedded_rows),
            name="embedTokens",
            summary="Turn each token of texts into a vector (ColBERT)",
            tag=_TAG,
            request=TokenVectorsRequest,
            request_types=ANY_FORM,
            example=Example({"texts": ["Hello world!"]}),
            answers=(
                Answer(
                    {JSON: object_of(embeddings=array_of(array_of(array_of(NUMBER))))},
                    examples={JSON: {"embeddings": [[[0.0341, -0.0512], [0.0127, 0.0433]]]}},
                ),
            ),
            errors=MODEL_ERRORS,
        ),
    ]
