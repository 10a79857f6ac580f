"""vLLM's /classify, /score and /pooling: labels of texts, how alike texts are, and what a model makes of texts."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from predictor.ttypes import ClassifyOptions, EmbedOptions, ErrorCode, ModelState, PredictionError, RerankOptions
from pydantic import AliasChoices, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from process.options import DIMENSIONS, NORMALIZE, TRUNCATE
from rest_proxy.backend.contract import CLASSIFY, EMBED_TOKENS, LIST_MODELS, RERANK
from rest_proxy.compat.openai.completions import all_of
from rest_proxy.compat.openai.errors import ERRORS
from rest_proxy.http.content import INTEGER, JSON, NUMBER, STRING, array_of, object_of
from rest_proxy.http.errors import HttpError, invalid_argument, refusal
from rest_proxy.http.requests import ModelRequest, Texts, TextsOrIds, check_count, option_field, read_json
from rest_proxy.http.responses import numbers_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.embeddings import count_of, embed, embedded_rows
from rest_proxy.routes.texts import estimated_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from predictor.ttypes import ModelInfo, RequestOptions

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

_TAG = "vllm"
_TASKS: dict[Literal["embed", "token_embed", "classify"], str] = {
    "token_embed": "embed_tokens",
    "embed": "embed_matrix",
    "classify": "classify",
}
"""What /pooling is asked for -> the contract's method of a model for it; the first that a model has is its default."""


class _Request(ModelRequest):
    """Fields that are not known are not read, as vLLM has ever more of them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    truncate: bool | None = option_field(TRUNCATE)
    use_activation: bool | None = Field(
        None,
        validation_alias=AliasChoices("use_activation", "activation"),
        description="false: scores as the model's last layer gives them. Default: true.",
    )

    @property
    def raw_scores(self) -> bool | None:
        """The contract's option."""
        return None if self.use_activation is None else not self.use_activation


class ClassifyRequest(_Request):
    """Texts to classify, as vLLM has them."""

    input: Texts = Field(description="A text, or a list of texts.")


class ScoreRequest(_Request):
    """Texts to compare, as vLLM has them: each with each at the same place, or one with all."""

    text_1: Texts = Field(
        validation_alias=AliasChoices("text_1", "queries", "data_1"), description="A text, or a list of texts."
    )
    text_2: Texts = Field(
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2"),
        description="A text, or a list of texts.",
    )

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        first, second = _listed(self.text_1), _listed(self.text_2)
        if len(first) not in (1, len(second)) or not second:
            message = "expected as many texts as text_1 has, or one text_1 and any number: {first} and {second}"
            raise PydanticCustomError("as_many", message, {"first": len(first), "second": len(second)})
        return self

    def pairs(self) -> list[tuple[str, str]]:
        """Each text of the first list, which may be one for all, with one of the second."""
        first, second = _listed(self.text_1), _listed(self.text_2)
        return list(zip(first * len(second) if len(first) == 1 else first, second, strict=True))


class PoolingRequest(_Request):
    """Texts to give to a model, as vLLM has them."""

    input: TextsOrIds = Field(description="A text, or a list of texts; or, to embed them, ids of the model's tokens.")
    task: Literal["embed", "token_embed", "classify"] | None = Field(
        None, description="Vectors of texts, vectors of their tokens, or scores of labels. Default: what the model can."
    )
    dimensions: int | None = option_field(DIMENSIONS)
    normalize: bool | None = option_field(NORMALIZE)
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: the numbers as little-endian float32, row after row."
    )


class Pooling:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def classify(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Of each text the best label, and the scores of all labels in the model's order."""
        fields = await read_json(ClassifyRequest, request, self._settings)
        texts = _listed(fields.input)
        options = fields.options(self._settings, request_id, len(texts))
        found = await self._labels(fields, texts, options, single=isinstance(fields.input, str))
        data = [
            {
                "index": place,
                "label": labels[0].label if labels else None,  # a TorchScript model may know none for a text
                "probs": _in_order(labels),
                "num_classes": len(labels),
            }
            for place, labels in enumerate(found)
        ]
        return _answer("classify", fields, data, estimated_tokens(texts), request_id)

    async def score(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """How well each second text answers the first, by a reranker; how alike they are, by an embedder."""
        fields = await read_json(ScoreRequest, request, self._settings)
        pairs = fields.pairs()
        check_count("text_2", pairs, self._settings)
        options = fields.options(self._settings, request_id, len(pairs))
        methods = (await self._model(fields.model, ("rerank", "embed_matrix"))).methods
        by = self._ranked if "rerank" in methods else self._cosines
        scores, tokens = await by(fields, pairs, options)
        data = [{"index": place, "object": "score", "score": score} for place, score in enumerate(scores)]
        return _answer("score", fields, data, tokens, request_id)

    async def pooling(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A vector of each text, of each of its tokens, or scores of labels."""
        fields = await read_json(PoolingRequest, request, self._settings)
        task = fields.task
        if task is None:
            methods = (await self._model(fields.model, tuple(_TASKS.values()))).methods
            task = next(name for name, method in _TASKS.items() if method in methods)
        if task != "embed" and not all(isinstance(text, str) for text in _listed(fields.input)):
            raise invalid_argument("only vectors of texts are made of token ids (task embed)", field="input")
        options = fields.options(self._settings, request_id, count_of(fields.input))
        rows, tokens = await getattr(self, f"_{task}")(fields, options)
        data = [
            {"index": place, "object": "pooling", "data": _written(row, fields.encoding_format)}
            for place, row in enumerate(rows)
        ]
        return _answer("pool", fields, data, tokens, request_id)

    async def _embed(self, fields: PoolingRequest, options: RequestOptions) -> tuple[Sequence[Array], int]:
        embedded = await embed(self._settings, self._pool, "input", fields.input, options, _embed_options(fields))
        tokens = estimated_tokens(_listed(fields.input)) if embedded.tokens is None else embedded.tokens
        return list(embedded.vectors), tokens

    async def _token_embed(self, fields: PoolingRequest, options: RequestOptions) -> tuple[Sequence[Array], int]:
        texts = _listed(fields.input)
        check_count("input", texts, self._settings)
        single = isinstance(fields.input, str)
        matrices = await self._call(EMBED_TOKENS, texts, options, _embed_options(fields), single=single)
        return [embedded_rows(matrix) for matrix in matrices], sum(matrix.rows for matrix in matrices)

    async def _classify(self, fields: PoolingRequest, options: RequestOptions) -> tuple[Sequence[Array], int]:
        texts = _listed(fields.input)
        found = await self._labels(fields, texts, options, single=isinstance(fields.input, str))
        return [np.array(_in_order(labels), np.float32) for labels in found], estimated_tokens(texts)

    async def _labels(self, fields: _Request, texts: list[str], options: RequestOptions, *, single: bool) -> Any:
        check_count("input", texts, self._settings)
        wanted = ClassifyOptions(truncate=fields.truncate, raw_scores=fields.raw_scores)
        return await self._call(CLASSIFY, texts, options, wanted, single=single)

    async def _call(
        self, method: Method, texts: list[str], options: RequestOptions, wanted: Any, *, single: bool
    ) -> Any:
        names = {"texts[0]": "input"} if single else {"texts": "input"}
        try:
            return await self._pool.call(method, texts, options, wanted, timeout_ms=options.timeout_ms)
        except PredictionError as error:
            raise refusal(error, names) from None

    async def _ranked(
        self, fields: ScoreRequest, pairs: list[tuple[str, str]], options: RequestOptions
    ) -> tuple[Sequence[float], int]:
        """A call for each text that others are to answer."""
        places: dict[str, list[int]] = {}
        for place, (first, _) in enumerate(pairs):
            places.setdefault(first, []).append(place)
        wanted = RerankOptions(truncate=fields.truncate, raw_scores=fields.raw_scores)
        calls = (
            self._pool.call(
                RERANK, first, [pairs[place][1] for place in of_first], options, wanted, timeout_ms=options.timeout_ms
            )
            for first, of_first in places.items()
        )
        try:
            answers = await all_of(calls)
        except PredictionError as error:
            raise refusal(error, {"query": "text_1", "texts": "text_2"}) from None
        scores, counts = [0.0] * len(pairs), []
        for of_first, ranked in zip(places.values(), answers, strict=True):
            for one in ranked:
                scores[of_first[one.index]] = one.score
                counts.append(one.tokens)
        told = None not in counts
        return scores, sum(counts) if told else estimated_tokens([text for pair in pairs for text in pair])

    async def _cosines(
        self, fields: ScoreRequest, pairs: list[tuple[str, str]], options: RequestOptions
    ) -> tuple[Sequence[float], int]:
        wanted = EmbedOptions(truncate=fields.truncate, normalize=True)
        first, second = await all_of(
            embed(self._settings, self._pool, field, given, options, wanted)
            for field, given in (("text_1", fields.text_1), ("text_2", fields.text_2))
        )
        counts = (first.tokens, second.tokens)
        told = None not in counts
        cosines = np.einsum("ij,ij->i", np.broadcast_to(first.vectors, second.vectors.shape), second.vectors)
        return list(cosines), sum(counts) if told else estimated_tokens([text for pair in pairs for text in pair])

    async def _model(self, name: str | None, methods: tuple[str, ...]) -> ModelInfo:
        """The model that is asked for, or the default one of the first of these methods that has one."""
        infos: list[ModelInfo] = await self._pool.call(LIST_MODELS, timeout_ms=self._settings.timeout_ms)
        ready = [info for info in infos if info.state == ModelState.READY]
        for method in methods:
            for info in ready:
                if method in (info.default_for if name is None else info.methods) and name in (None, info.name):
                    return info
        named = "no model" if name is None else f"no model {name[:64]!r}"
        raise HttpError(ErrorCode.NOT_FOUND, f"{named} serves {' or '.join(methods)}", field="model")


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) else list(given)


def _embed_options(fields: PoolingRequest) -> EmbedOptions:
    return EmbedOptions(truncate=fields.truncate, dimensions=fields.dimensions, normalize=fields.normalize)


def _in_order(labels: Sequence[Any]) -> list[float]:
    """The scores in the order of the model's labels; of a server that does not tell it, the best first."""
    if any(one.index is None for one in labels):
        return [one.score for one in labels]
    return [one.score for one in sorted(labels, key=lambda one: one.index)]


def _written(row: Array, encoding: str | None) -> Any:
    if encoding != "base64":
        return row
    return base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode()


def _answer(kind: str, fields: _Request, data: list[Any], tokens: int, request_id: str) -> web.Response:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    about = {"id": f"{kind}-{request_id}", "object": "list", "created": int(time.time()), "model": fields.model or ""}
    return numbers_response({**about, "data": data, "usage": usage}, request_id)


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/classify, /score, /v1/score and /pooling."""
    theirs = Pooling(settings, pool)
    texts = {"text_1": "What is the capital of France?", "text_2": ["Paris is the capital of France.", "Bread."]}
    score = object_of(index=INTEGER, object={"const": "score"}, score=NUMBER)
    pooled = object_of(index=INTEGER, object={"const": "pooling"}, data={"type": ["array", "string"]})
    label = object_of(index=INTEGER, label=STRING, probs=array_of(NUMBER), num_classes=INTEGER)
    return [
        _route("/classify", theirs.classify, "Classify texts", ClassifyRequest, {"input": ["set an alarm"]}, label),
        *(
            _route(
                path,
                theirs.score,
                "How well do texts answer a text, or how alike are they?",
                ScoreRequest,
                texts,
                score,
            )
            for path in ("/score", "/v1/score")
        ),
        _route(
            "/pooling",
            theirs.pooling,
            "What does a model make of texts?",
            PoolingRequest,
            {"input": ["Hello world!"], "task": "embed"},
            pooled,
        ),
    ]


def _route(path: str, answer: Any, summary: str, request: Any, example: dict[str, Any], item: Any) -> Route:
    usage = object_of(prompt_tokens=INTEGER, total_tokens=INTEGER)
    listed = object_of(id=STRING, object={"const": "list"}, data=array_of(item), model=STRING, usage=usage)
    words = [word.capitalize() for word in path.split("/") if word]
    return Route(
        path=path,
        methods=("POST",),
        answer=answer,
        name=f"vllm{''.join(words)}",
        summary=f"{summary}{'' if summary.endswith('?') else ', as vLLM does'}",
        tag=_TAG,
        request=request,
        example=Example(example),
        answers=(Answer({JSON: listed}),),
        errors=MODEL_ERRORS,
        error_format=ERRORS,
    )
