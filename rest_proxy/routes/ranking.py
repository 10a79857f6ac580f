"""How well texts answer a query: /rerank, in text-embeddings-inference's form and in Cohere's and Jina's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from predictor.ttypes import PredictionError, RerankOptions
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from process.options import RAW_SCORES, TOP_N, TRUNCATE
from rest_proxy.backend.contract import RERANK
from rest_proxy.http.content import INTEGER, JSON, NUMBER, STRING, array_of, object_of
from rest_proxy.http.errors import refusal
from rest_proxy.http.requests import Also, FailFast, ModelRequest, check_count, option_field, read_json, read_request
from rest_proxy.http.responses import ERROR, ErrorFormat, error_headers, error_object, json_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.texts import estimated_tokens, options_of

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import Ranked

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

_DESCRIPTION = (
    "`texts` are answered as by text-embeddings-inference: a list of index and score, the best first. `documents` are "
    "answered as by Cohere and Jina: `results` with index and relevance_score, and `usage` with the tokens that the "
    "model read; where it does not tell, 4 bytes are taken for one."
)


class Document(FailFast):
    """A document as Cohere's and Jina's clients may send it; what else it has is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text: str = Field(description="What is ranked.")


def _document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class RerankRequest(ModelRequest):
    """Texts to rank by how well they answer a query."""

    repeated = ("texts", "documents")

    query: str = Field(description="What the texts are to answer.")
    texts: list[str] | None = Field(None, description="Texts to rank.")
    documents: list[Annotated[Document, BeforeValidator(_document), Also(STRING)]] | None = Field(
        None, description="The same, as strings or objects with `text`, for an answer in Cohere's form."
    )
    top_n: int | None = option_field(TOP_N)
    raw_scores: bool | None = option_field(RAW_SCORES)
    truncate: bool | None = option_field(TRUNCATE)
    return_text: bool | None = Field(None, description="Whether the answer has the texts.")
    return_documents: bool | None = Field(None, description="The same, for documents.")
    truncation_direction: Literal["right", "Right"] | None = Field(
        None, description="Of text-embeddings-inference: of a pair that is too long the end is cut."
    )

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.texts is None) == (self.documents is None):
            raise PydanticCustomError("one_list", "give either texts or documents")
        return self

    def rerank_options(self) -> RerankOptions | None:
        """The contract's options of rerank, None when the request gives none."""
        options: RerankOptions | None = options_of(
            RerankOptions,
            top_n=self.top_n if self.documents is None else None,  # of documents the tokens of all are counted
            raw_scores=self.raw_scores,
            truncate=self.truncate,
        )
        return options


class CohereRequest(RerankRequest):
    """POST /v1/rerank and /v2/rerank; fields that are not known here are not read, such as max_tokens_per_doc."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Rerank:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool, kind: type[RerankRequest]) -> None:
        self._settings = settings
        self._pool = pool
        self._kind = kind

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """[{"index", "score"}] of texts, {"results": [{"index", "relevance_score"}]} of documents."""
        ours = self._kind is RerankRequest
        fields = await (read_request if ours else read_json)(self._kind, request, self._settings)
        name, texts = "texts", fields.texts
        if texts is None:
            name, texts = "documents", [document.text for document in fields.documents or ()]
        check_count(name, texts, self._settings)
        options = fields.options(self._settings, request_id, len(texts))
        try:
            ranked = await self._pool.call(
                RERANK, fields.query, texts, options, fields.rerank_options(), timeout_ms=options.timeout_ms
            )
        except PredictionError as error:
            raise refusal(error, {"texts": name}) from None
        answer = _as_texts(fields, texts, ranked) if name == "texts" else _as_documents(fields, texts, ranked)
        return json_response(answer if name == "texts" else {"id": request_id, **answer}, request_id)


def _as_texts(fields: RerankRequest, texts: list[str], ranked: list[Ranked]) -> Any:
    shown = {one.index: {"text": texts[one.index]} for one in ranked} if fields.return_text else {}
    return [{"index": one.index, "score": one.score, **shown.get(one.index, {})} for one in ranked]


def _as_documents(fields: RerankRequest, texts: list[str], ranked: list[Ranked]) -> Any:
    with_text = bool(fields.return_documents)
    results = [
        {"index": one.index, "relevance_score": one.score}
        | ({"document": {"text": texts[one.index]}} if with_text else {})
        for one in ranked[: fields.top_n]
    ]
    counts = [one.tokens for one in ranked]
    tokens = estimated_tokens([fields.query] * len(texts) + texts) if None in counts else sum(counts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    named = {} if fields.model is None else {"model": fields.model}
    return {**named, "results": results, "usage": usage}


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """Ours, with the message where Jina's clients (`detail`) and Cohere's (`message`) look for it."""
    content = {**error_object(error, request_id), "detail": error.message, "message": error.message}
    return json_response(content, request_id, error.status, error_headers(error))


_ERRORS = ErrorFormat("RerankError", _error, {JSON: object_of(**ERROR["properties"], detail=STRING, message=STRING)})


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/rerank, /v1/rerank and /v2/rerank."""
    ours = array_of(object_of(index=INTEGER, score=NUMBER))
    usage = object_of(prompt_tokens=INTEGER, total_tokens=INTEGER)
    results = array_of(object_of(index=INTEGER, relevance_score=NUMBER))
    theirs = object_of(id=STRING, results=results, usage=usage)
    texts = ["Paris is the capital of France.", "Bread is baked."]
    query = "What is the capital of France?"
    example = {
        "id": "5f1c",
        "results": [{"index": 0, "relevance_score": 0.9991}],
        "usage": {"prompt_tokens": 27, "total_tokens": 27},
    }
    cohere = Rerank(settings, pool, CohereRequest)
    return [
        Route(
            path="/rerank",
            methods=GET_OR_POST,
            answer=Rerank(settings, pool, RerankRequest),
            name="rerank",
            summary="Rank texts by how well they answer a query",
            description=_DESCRIPTION,
            tag="ranking",
            request=RerankRequest,
            request_types=ANY_FORM,
            example=Example({"query": query, "texts": texts}),
            answers=(
                Answer(
                    {JSON: {"anyOf": [ours, theirs]}},
                    examples={JSON: [{"index": 0, "score": 0.9991}, {"index": 1, "score": 0.0001}]},
                ),
            ),
            errors=MODEL_ERRORS,
        ),
        *(
            Route(
                path=f"/{version}/rerank",
                methods=("POST",),
                answer=cohere,
                name=f"rerank{version.upper()}",
                summary="Rank documents, as Cohere and Jina do",
                tag="cohere",
                request=CohereRequest,
                example=Example({"model": "reranker", "query": query, "documents": texts, "top_n": 1}),
                answers=(Answer({JSON: {"anyOf": [theirs, ours]}}, examples={JSON: example}),),
                errors=MODEL_ERRORS,
                error_format=_ERRORS,
            )
            for version in ("v1", "v2")
        ),
    ]
