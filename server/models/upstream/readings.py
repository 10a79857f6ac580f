"""Texts that an upstream server embeds or ranks: those of a batch share calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from server.models.upstream.failures import failure
from server.upstream import answers
from server.upstream.errors import AnswerError, RefusedError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.models.task_queue import Item
    from server.upstream.client import Client
    from server.upstream.discovery import Found
    from server.upstream.patience import Patience


class Text(NamedTuple):
    """A text whose vector is asked for."""

    text: str
    truncate: bool


class Pair(NamedTuple):
    """A text whose rank for a query is asked for."""

    query: str
    text: str
    truncate: bool


class Readings:
    """Runs batches of them."""

    def __init__(self, client: Client, found: Found, patience: Patience) -> None:
        self._client = client
        self._found = found
        self._patience = patience

    async def run(self, items: Sequence[Item]) -> list[Any]:
        """Vectors or scores of a batch: those that one call can ask for, together."""
        groups: dict[Any, list[int]] = {}
        for place, item in enumerate(items):
            payload = item.payload
            key = (payload.query, payload.truncate) if type(payload) is Pair else payload.truncate
            groups.setdefault(key, []).append(place)
        outcomes: list[Any] = [None] * len(items)
        for places in groups.values():
            for place, outcome in zip(places, await self._part([items[place] for place in places]), strict=True):
                outcomes[place] = outcome
        return outcomes

    async def _part(self, items: list[Item]) -> list[Any]:
        """Halved where the server refuses it, or fails on it, until the text is found."""
        ask = self._scores if type(items[0].payload) is Pair else self._vectors
        server = self._client.address.server
        try:
            return await self._patience.call(lambda: ask(items))
        except (RefusedError, AnswerError) as error:
            if len(items) == 1 or (isinstance(error, RefusedError) and error.status == 404):
                return [failure(error, server)] * len(items)
        except UpstreamError as error:
            return [failure(error, server)] * len(items)
        half = len(items) // 2
        return await self._part(items[:half]) + await self._part(items[half:])

    async def _vectors(self, items: list[Item]) -> list[Any]:
        texts = [item.payload.text for item in items]
        body = {"model": self._client.address.model, "input": texts, "encoding_format": self._found.encoding}
        body |= self._found.server.embed_fields.get(items[0].payload.truncate, {})
        answer = await self._client.post(f"{self._client.address.base}/embeddings", body)
        rows, tokens = answers.vectors(answer, len(texts), self._found.vector_size)
        if len(items) == 1:
            items[0].request.tokens = tokens
        return rows

    async def _scores(self, items: list[Item]) -> list[Any]:
        texts = [item.payload.text for item in items]
        body = {"model": self._client.address.model, "query": items[0].payload.query, self._found.rerank_texts: texts}
        body |= self._found.server.embed_fields.get(items[0].payload.truncate, {})
        return list(answers.scores(await self._client.post(self._found.rerank_path, body), len(texts)))
