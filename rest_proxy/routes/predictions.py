"""Classification and suggested replies: /predict and /reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from predictor.ttypes import ClassifyOptions, ReplyOptions
from pydantic import Field

from process.options import (
    CANDIDATE_LABELS,
    HYPOTHESIS_TEMPLATE,
    MAX_REPLIES,
    MULTI_LABEL,
    RAW_SCORES,
    THRESHOLD,
    TOP_LABELS,
    TRUNCATE,
)
from rest_proxy.backend.contract import CLASSIFY, PREDICT, PREDICT_BATCH, REPLY, REPLY_BATCH
from rest_proxy.http.content import JSON, NUMBER, Schema
from rest_proxy.http.requests import option_field
from rest_proxy.http.responses import best_first, json_response, scores_body
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Direct, Example, Route
from rest_proxy.routes.texts import (
    OneOrMany,
    answer_each,
    one_or_all,
    one_or_all_schema,
    options_of,
    read_texts,
    text_alone,
)

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

SCORES: Schema = {"type": "object", "additionalProperties": NUMBER}

_TAG = "predictions"


class PredictRequest(OneOrMany):
    """Documents to classify."""

    one, many, repeated = "doc", "docs", ("docs", "candidate_labels")

    doc: str | None = Field(None, description="A document.")
    docs: list[str] | None = Field(None, description="Several; answered in their order.")
    top_k: int | None = option_field(TOP_LABELS)
    raw_scores: bool | None = option_field(RAW_SCORES)
    multi_label: bool | None = option_field(MULTI_LABEL)
    candidate_labels: list[str] | None = option_field(CANDIDATE_LABELS)
    hypothesis_template: str | None = option_field(HYPOTHESIS_TEMPLATE)
    truncate: bool | None = option_field(TRUNCATE)

    def classify_options(self) -> ClassifyOptions | None:
        """The contract's options of classify, None when the request gives none."""
        options: ClassifyOptions | None = options_of(
            ClassifyOptions,
            top_k=self.top_k,
            raw_scores=self.raw_scores,
            multi_label=self.multi_label,
            candidate_labels=self.candidate_labels,
            hypothesis_template=self.hypothesis_template,
            truncate=self.truncate,
        )
        return options


class ReplyRequest(OneOrMany):
    """Messages to suggest replies to."""

    one, many, repeated = "message", "messages", ("messages",)

    message: str | None = Field(None, description="A message.")
    messages: list[str] | None = Field(None, description="Several; answered in their order.")
    max_replies: int | None = option_field(MAX_REPLIES)
    threshold: float | None = option_field(THRESHOLD)

    def reply_options(self) -> ReplyOptions | None:
        """The contract's options of the reply methods, None when the request gives none."""
        if self.max_replies is None and self.threshold is None:
            return None
        return ReplyOptions(self.max_replies, self.threshold)


class Predictions:
    """One text in gives one object; several give {"results": [such objects]} in their order. Highest scores first."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._timeout_ms = settings.timeout_ms_of(1)

    def direct_predict(self) -> Direct:
        """Of `doc` alone."""
        return Direct(
            read=text_alone("doc"),
            calls=self._pool.calls_of(PREDICT, self._timeout_ms, as_json=True),
            write=scores_body("scores"),
            headers={"Content-Type": JSON},
        )

    def direct_reply(self) -> Direct:
        """Of `message` alone."""
        return Direct(
            read=text_alone("message"),
            calls=self._pool.calls_of(REPLY, self._timeout_ms, None),
            write=scores_body("replies"),
            headers={"Content-Type": JSON},
        )

    async def predict(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`doc` to {"scores": {label: score}}, `docs` to {"results": [{"scores": ...}]}."""
        fields = await read_texts(PredictRequest, request, self._settings)
        classify_options = fields.classify_options()
        if classify_options is not None:
            return await self._classify(fields, classify_options, request_id)
        options = fields.options(self._settings, request_id, fields.items)
        if fields.doc is not None:
            scores = await self._pool.call(PREDICT, fields.doc, options, timeout_ms=options.timeout_ms)
            return json_response({"scores": best_first(scores)}, request_id)
        results = await self._pool.call(PREDICT_BATCH, fields.docs, options, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"scores": best_first(scores)} for scores in results]}, request_id)

    async def _classify(self, fields: PredictRequest, wanted: ClassifyOptions, request_id: str) -> web.Response:
        items = fields.items * len(fields.candidate_labels or ("",))
        options = fields.options(self._settings, request_id, items)
        answers = await answer_each(self._pool, CLASSIFY, fields, options, wanted)
        by_label = [{one.label: one.score for one in answer} for answer in answers]
        return json_response(one_or_all(fields, by_label, lambda scores: {"scores": scores}), request_id)

    async def reply(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`message` to {"replies": {reply: score}}, `messages` to {"results": [{"replies": ...}]}."""
        fields = await read_texts(ReplyRequest, request, self._settings)
        options, more = fields.options(self._settings, request_id, fields.items), fields.reply_options()
        if fields.message is not None:
            replies = await self._pool.call(REPLY, fields.message, options, more, timeout_ms=options.timeout_ms)
            return json_response({"replies": best_first(replies)}, request_id)
        results = await self._pool.call(REPLY_BATCH, fields.messages, options, more, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"replies": best_first(replies)} for replies in results]}, request_id)


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/predict and /reply."""
    predictions = Predictions(settings, pool)
    return [
        Route(
            path="/predict",
            methods=GET_OR_POST,
            answer=predictions.predict,
            name="predict",
            summary="Classify documents, with labels of the model or of your own",
            tag=_TAG,
            request=PredictRequest,
            request_types=ANY_FORM,
            example=Example({"doc": "set an alarm"}),
            answers=(_one_or_many("scores", {"alarm/set_alarm": -0.0513, "weather/find": -4.21}),),
            errors=MODEL_ERRORS,
            small=True,
            direct=predictions.direct_predict(),
        ),
        Route(
            path="/reply",
            methods=GET_OR_POST,
            answer=predictions.reply,
            name="reply",
            summary="Suggest replies to messages",
            tag=_TAG,
            request=ReplyRequest,
            request_types=ANY_FORM,
            example=Example({"message": "Hello", "max_replies": 2}),
            answers=(_one_or_many("replies", {"How are you sir?": 1.449, "Hi, how are you doing?": 1.09}),),
            errors=MODEL_ERRORS,
            small=True,
            direct=predictions.direct_reply(),
        ),
    ]


def _one_or_many(result: str, example: dict[str, float]) -> Answer:
    return Answer({JSON: one_or_all_schema(**{result: SCORES})}, examples={JSON: {result: example}})
