"""The answers of text-embeddings-inference's routes: bare lists, one item for each text, also of one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from predictor.ttypes import PredictionError

from rest_proxy.backend.contract import CLASSIFY, EMBED_SPARSE, EMBED_TOKENS, TOKENIZE
from rest_proxy.compat.tei.requests import (
    EmbedAllRequest,
    EmbedRequest,
    PredictRequest,
    SparseRequest,
    TokenizeRequest,
    texts_of,
)
from rest_proxy.http.errors import refusal
from rest_proxy.http.requests import check_count, read_json
from rest_proxy.http.responses import json_response, numbers_response
from rest_proxy.routes.embeddings import count_of, embed, embedded_rows

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import ScoredLabel, SparseVector, Token

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings


class TextEmbeddingsInference:
    """Answers to requests with `inputs`."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def embed(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A vector for each text."""
        fields = await read_json(EmbedRequest, request, self._settings)
        options = fields.options(self._settings, request_id, count_of(fields.inputs))
        wanted = fields.method_options()
        embedded = await embed(self._settings, self._pool, "inputs", fields.inputs, options, wanted)
        return numbers_response(embedded.numbers, request_id)

    async def embed_sparse(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Pairs of index and value for each text."""
        fields = await read_json(SparseRequest, request, self._settings)
        vectors = await self._each(EMBED_SPARSE, fields, request_id)
        return numbers_response(list(map(_pairs, vectors)), request_id)

    async def embed_all(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A vector for each token of each text."""
        fields = await read_json(EmbedAllRequest, request, self._settings)
        matrices = await self._each(EMBED_TOKENS, fields, request_id)
        return numbers_response(list(map(embedded_rows, matrices)), request_id)

    async def predict(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Labels with their scores for each text, the best first; of one text without a list around them."""
        fields = await read_json(PredictRequest, request, self._settings)
        answers = [_labels(found) for found in await self._each(CLASSIFY, fields, request_id)]
        return json_response(answers[0] if isinstance(fields.inputs, str) else answers, request_id)

    async def tokenize(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The tokens of each text."""
        fields = await read_json(TokenizeRequest, request, self._settings)
        answers = await self._each(TOKENIZE, fields, request_id)
        texts = texts_of(fields.inputs)
        parts = [[_part(text, token) for token in found] for text, found in zip(texts, answers, strict=True)]
        return json_response(parts, request_id)

    async def _each(
        self, method: Method, fields: SparseRequest | PredictRequest | TokenizeRequest, request_id: str
    ) -> list[Any]:
        texts = texts_of(fields.inputs)
        check_count("inputs", texts, self._settings)
        options = fields.options(self._settings, request_id, len(texts))
        names = {"texts[0]": "inputs"} if isinstance(fields.inputs, str) else {"texts": "inputs"}
        try:
            answers: list[Any] = await self._pool.call(
                method, texts, options, fields.method_options(), timeout_ms=options.timeout_ms
            )
        except PredictionError as error:
            raise refusal(error, names) from None
        return answers


def _pairs(vector: SparseVector) -> list[dict[str, Any]]:
    values = np.array(vector.values, np.float32)  # in as few digits as these need
    return [{"index": index, "value": value} for index, value in zip(vector.indices, values, strict=True)]


def _labels(found: list[ScoredLabel]) -> list[dict[str, Any]]:
    return [{"score": one.score, "label": one.label} for one in found]


def _part(text: str, token: Token) -> dict[str, Any]:
    special = token.start is None
    shown = token.text if special else text[token.start : token.stop]
    return {"id": token.id, "text": shown, "special": special, "start": token.start, "stop": token.stop}
