"""What a model of an upstream server can do, found by asking: its entry in /v1/models, and a small call a method."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from server.errors import ModelError
from server.upstream import answers
from server.upstream.errors import DeniedError, PassingError, RefusedError, UpstreamError
from server.upstream.servers import OPENAI, SERVED, ServerKind, kind_named, kind_of_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.upstream.client import Client

_POLL_S = 0.5
_TEXTS = ["Hello", "How are you?"]
_UNIT_TOLERANCE = 1e-3


@dataclass(slots=True)
class Found:
    """A model and what it serves."""

    server: ServerKind
    context: int | None = None
    """Positions of a text, where the server tells."""
    serves: tuple[str, ...] = ()
    """Of SERVED."""
    vector_size: int = 0
    normalized: bool = False
    """Whether its vectors have length 1."""
    encoding: str = "base64"
    """encoding_format of vectors."""
    rerank_path: str = ""
    rerank_texts: str = "documents"
    """What the server calls the texts that it ranks."""


class Discovery:
    """Asks one server about one model."""

    def __init__(self, client: Client, server: str | None, serves: Sequence[str], timeout_s: float) -> None:
        """`server` and `serves`: what the location says of them. Raises ModelError."""
        self._client = client
        self._model = client.address.model
        self._base = client.address.base
        self._serves = serves
        self._named = None if server is None else kind_named(server)
        self._end = asyncio.get_running_loop().time() + timeout_s
        self._timeout_s = timeout_s

    async def found(self) -> Found:
        """What the model serves, once the server answers. Raises ModelError when it does not, or serves nothing."""
        found = await self._listed()
        tries: dict[str, Callable[[Found], Awaitable[None]]] = {
            "generate": self._try_generate,
            "chat": self._try_chat,
            "embed": self._try_embed,
            "rerank": self._try_rerank,
        }
        reasons = {}
        for name in self._serves or SERVED:
            try:
                await self._until_ready(lambda attempt=tries[name]: attempt(found))  # type: ignore[misc]
            except UpstreamError as error:
                reasons[name] = str(error)
            else:
                found.serves += (name,)
        if (self._serves and reasons) or not found.serves:
            said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ModelError(f"{self._client.address.server} does not serve {self._model!r} so: {said}")
        return found

    async def _listed(self) -> Found:
        try:
            listing = await self._until_ready(lambda: self._client.get(f"{self._base}/models"))
            entry = answers.listed(listing, self._model)
        except RefusedError as error:
            if error.status not in (404, 405):
                raise ModelError(f"{self._client.address.server}: {error}") from None
            return Found(self._named or OPENAI)  # a server without that list
        except UpstreamError as error:
            raise ModelError(f"{self._client.address.server}: {error}") from None
        if entry is None and self._serves:  # some servers list only models of one kind: trying tells
            return Found(self._named or kind_of_owner(answers.owner(listing)))
        if entry is None:
            names = ", ".join(answers.names(listing)[:20]) or "none"
            raise ModelError(f"{self._client.address.server} has no model {self._model!r}; it has {names}")
        return Found(self._named or kind_of_owner(entry.owner), entry.context)

    async def _until_ready(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, when the server is there and has loaded the model. Raises ModelError, UpstreamError."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._end):
                    return await ask()
            except DeniedError as error:
                raise ModelError(f"{self._client.address.server}: {error}") from None
            except (PassingError, TimeoutError) as error:
                if loop.time() + _POLL_S >= self._end:
                    why = str(error) or "it does not answer"
                    raise ModelError(
                        f"no answer from {self._client.address.server} in {self._timeout_s:g} s: {why}"
                        " (setting upstream_start_s)"
                    ) from None
            await asyncio.sleep(_POLL_S)

    async def _try_generate(self, _found: Found) -> None:
        body = {"model": self._model, "prompt": _TEXTS[0], "max_tokens": 1, "temperature": 0}
        answers.completion(await self._client.post(f"{self._base}/completions", body))

    async def _try_chat(self, _found: Found) -> None:
        messages = [{"role": "user", "content": _TEXTS[0]}]
        body = {"model": self._model, "messages": messages, "max_tokens": 1, "temperature": 0}
        answers.message(await self._client.post(f"{self._base}/chat/completions", body))

    async def _try_embed(self, found: Found) -> None:
        body = {"model": self._model, "input": _TEXTS}
        try:
            answer = await self._client.post(f"{self._base}/embeddings", body | {"encoding_format": "base64"})
        except RefusedError:
            answer = await self._client.post(f"{self._base}/embeddings", body | {"encoding_format": "float"})
            found.encoding = "float"
        rows, _ = answers.vectors(answer, len(_TEXTS), None)
        found.vector_size = len(rows[0]) // 4
        lengths = [float(np.linalg.norm(np.frombuffer(row, "<f4"))) for row in rows]
        found.normalized = all(abs(length - 1) < _UNIT_TOLERANCE for length in lengths)

    async def _try_rerank(self, found: Found) -> None:
        """In Cohere's and Jina's form, then in that of text-embeddings-inference."""
        paths = dict.fromkeys((f"{self._base}/rerank", f"{self._client.address.prefix}/rerank"))
        failure: UpstreamError = RefusedError("no path of /rerank", 404)
        for name in ("documents", "texts"):
            for path in paths:
                try:
                    answer = await self._client.post(path, {"model": self._model, "query": _TEXTS[0], name: _TEXTS})
                    answers.scores(answer, len(_TEXTS))
                except RefusedError as error:
                    failure = error
                else:
                    found.rerank_path, found.rerank_texts = path, name
                    return
        raise failure
