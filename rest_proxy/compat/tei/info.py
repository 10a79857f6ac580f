"""GET /info and /health: which model there is, and whether it answers, as text-embeddings-inference says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, ModelInfo, ModelState

from rest_proxy.backend.contract import LIST_MODELS, STATUS
from rest_proxy.http.errors import HttpError
from rest_proxy.http.requests import ModelRequest, read_query
from rest_proxy.http.responses import json_response, text_response

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

# What a model serves -> its type.
_TYPES = {
    "embed_matrix": "embedding",
    "embed_sparse": "embedding",
    "rerank": "reranker",
    "classify": "classifier",
}
_POOLINGS = {"lasttoken": "last_token"}


class Info:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def info(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The model that the query names, else the first that embeds, ranks or classifies."""
        wanted = read_query(ModelRequest, request).model
        infos = await self._pool.call(LIST_MODELS, timeout_ms=self._settings.timeout_ms)
        status = await self._pool.call(STATUS, timeout_ms=self._settings.timeout_ms)
        ready = (
            info for info in infos if info.state == ModelState.READY and not _TYPES.keys().isdisjoint(info.methods)
        )
        info = next((info for info in ready if wanted in (None, info.name)), None)
        if info is None:
            named = "" if wanted is None else f" {wanted[:64]!r}"
            raise HttpError(ErrorCode.NOT_FOUND, f"no model{named} embeds, ranks or classifies", field="model")
        return json_response(self._described(info, status.version), request_id)

    async def health(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """200 if a server is ready, asked now; else 503."""
        await self._pool.probe()
        ready = any(upstream.reason is None for upstream in self._pool.upstreams)
        return text_response("", request_id, 200 if ready else 503)

    def _described(self, info: ModelInfo, version: str) -> dict[str, Any]:
        details, limits = info.details or {}, info.limits
        return {
            "model_id": info.name,
            "model_sha": info.version,
            "model_dtype": details.get("precision", "float32"),
            "model_type": _type(info, details),
            "max_concurrent_requests": self._settings.max_requests,
            "max_input_length": limits.max_tokens,
            "max_batch_tokens": limits.batch_tokens,
            "max_batch_requests": limits.batch_items,
            "max_client_batch_size": self._settings.max_docs,
            "auto_truncate": True,
            "tokenization_workers": 1,
            "version": version,
            "sha": None,
            "docker_label": None,
        }


def _is_served(info: ModelInfo) -> bool:
    return info.state == ModelState.READY and not _TYPES.keys().isdisjoint(info.methods)


def _type(info: ModelInfo, details: dict[str, str]) -> dict[str, Any]:
    name = next(kind for method, kind in _TYPES.items() if method in info.methods)
    if name != "embedding":
        return {name: {}}
    pooling = details.get("pooling", "splade" if "embed_sparse" in info.methods else "mean")
    return {name: {"pooling": _POOLINGS.get(pooling, pooling)}}
