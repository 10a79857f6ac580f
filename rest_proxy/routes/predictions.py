"""Classification and suggested replies: /predict and /reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from predictor.ttypes import ReplyOptions
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from process.options import MAX_REPLIES, THRESHOLD
from rest_proxy.backend.contract import PREDICT, PREDICT_BATCH, REPLY, REPLY_BATCH
from rest_proxy.http.content import JSON, NUMBER, Schema, array_of, object_of
from rest_proxy.http.requests import ModelRequest, check_count, option_field, read_request
from rest_proxy.http.responses import best_first, json_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

SCORES: Schema = {"type": "object", "additionalProperties": NUMBER}

_TAG = "predictions"


class OneOrMany(ModelRequest):
    """One text or several."""

    one: ClassVar[str]  # name of the field for one text
    many: ClassVar[str]  # name of the field for several

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise PydanticCustomError("one_or_many", f"give either {self.one} or {self.many}")
        return self

    @property
    def text(self) -> str | None:
        """The one text, or None when there are several."""
        text: str | None = getattr(self, self.one)
        return text

    @property
    def texts(self) -> list[str] | None:
        """The texts, or None when there is one."""
        texts: list[str] | None = getattr(self, self.many)
        return texts

    @property
    def items(self) -> int:
        """How many texts there are."""
        return 1 if self.texts is None else len(self.texts)


class PredictRequest(OneOrMany):
    """Documents to classify."""

    one, many, repeated = "doc", "docs", "docs"

    doc: str | None = Field(None, description="A document.")
    docs: list[str] | None = Field(None, description="Several; answered in their order.")


class ReplyRequest(OneOrMany):
    """Messages to suggest replies to."""

    one, many, repeated = "message", "messages", "messages"

    message: str | None = Field(None, description="A message.")
    messages: list[str] | None = Field(None, description="Several; answered in their order.")
    max_replies: int | None = option_field(MAX_REPLIES)
    threshold: float | None = option_field(THRESHOLD)

    def reply_options(self) -> ReplyOptions | None:
        """The contract's options of the reply methods, None when the request gives none."""
        if self.max_replies is None and self.threshold is None:
            return None
        return ReplyOptions(self.max_replies, self.threshold)


T = TypeVar("T", bound=OneOrMany)


class Predictions:
    """One text in gives one object; several give {"results": [such objects]} in their order. Highest scores first."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def predict(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`doc` to {"scores": {label: score}}, `docs` to {"results": [{"scores": ...}]}."""
        fields = await self._read(PredictRequest, request)
        options = fields.options(self._settings, request_id, fields.items)
        if fields.doc is not None:
            scores = await self._pool.call(PREDICT, fields.doc, options, timeout_ms=options.timeout_ms)
            return json_response({"scores": best_first(scores)}, request_id)
        results = await self._pool.call(PREDICT_BATCH, fields.docs, options, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"scores": best_first(scores)} for scores in results]}, request_id)

    async def reply(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`message` to {"replies": {reply: score}}, `messages` to {"results": [{"replies": ...}]}."""
        fields = await self._read(ReplyRequest, request)
        options, more = fields.options(self._settings, request_id, fields.items), fields.reply_options()
        if fields.message is not None:
            replies = await self._pool.call(REPLY, fields.message, options, more, timeout_ms=options.timeout_ms)
            return json_response({"replies": best_first(replies)}, request_id)
        results = await self._pool.call(REPLY_BATCH, fields.messages, options, more, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"replies": best_first(replies)} for replies in results]}, request_id)

    async def _read(self, kind: type[T], request: web.BaseRequest) -> T:
        fields = await read_request(kind, request, self._settings)
        if fields.texts is not None:
            check_count(kind.many, fields.texts, self._settings)
        return fields


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/predict and /reply."""
    predictions = Predictions(settings, pool)
    return [
        Route(
            path="/predict",
            methods=GET_OR_POST,
            answer=predictions.predict,
            name="predict",
            summary="Classify documents",
            tag=_TAG,
            request=PredictRequest,
            request_types=ANY_FORM,
            example=Example({"doc": "set an alarm"}),
            answers=(_one_or_many("scores", {"alarm/set_alarm": -0.0513, "weather/find": -4.21}),),
            errors=MODEL_ERRORS,
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
        ),
    ]


def _one_or_many(result: str, example: dict[str, float]) -> Answer:
    one = object_of(**{result: SCORES})
    return Answer({JSON: {"oneOf": [one, object_of(results=array_of(one))]}}, examples={JSON: {result: example}})
