"""Our own prediction routes: /predict and /reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_proxy.backend.contract import PREDICT, PREDICT_BATCH, REPLY, REPLY_BATCH
from rest_proxy.http.requests import PredictRequest, ReplyRequest, read_prediction
from rest_proxy.http.responses import best_first, json_response

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings


class Predictions:
    """One text in gives one object; several give {"results": [such objects]} in their order. Highest scores first."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def predict(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`doc` to {"scores": {label: score}}, `docs` to {"results": [{"scores": ...}]}."""
        asked = await read_prediction(PredictRequest, request, self._settings)
        options = asked.options(self._settings, request_id)
        if asked.doc is not None:
            scores = await self._pool.call(PREDICT, asked.doc, options, timeout_ms=options.timeout_ms)
            return json_response({"scores": best_first(scores)}, request_id)
        results = await self._pool.call(PREDICT_BATCH, asked.docs, options, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"scores": best_first(scores)} for scores in results]}, request_id)

    async def reply(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`message` to {"replies": {reply: score}}, `messages` to {"results": [{"replies": ...}]}."""
        asked = await read_prediction(ReplyRequest, request, self._settings)
        options, wanted = asked.options(self._settings, request_id), asked.reply_options()
        if asked.message is not None:
            replies = await self._pool.call(REPLY, asked.message, options, wanted, timeout_ms=options.timeout_ms)
            return json_response({"replies": best_first(replies)}, request_id)
        results = await self._pool.call(REPLY_BATCH, asked.messages, options, wanted, timeout_ms=options.timeout_ms)
        return json_response({"results": [{"replies": best_first(replies)} for replies in results]}, request_id)
