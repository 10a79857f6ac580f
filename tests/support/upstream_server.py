"""A small server that speaks OpenAI's API as the real ones do, and that misbehaves in whatever way a test asks for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]

MODEL = "owner/small"
KEY = "sk-of-the-tests"
SIZE = 8

_END = "data: [DONE]\n\n"


def words_of(prompt: str, count: int) -> list[str]:
    """The text that follows a prompt: it says how many words the prompt has, and counts on."""
    first = len(prompt.split())
    return [f" {first + place}" for place in range(count)]


def vector_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector of length 1 that depends on the whole text."""
    numbers = np.random.default_rng(list(text.encode()) or [0]).standard_normal(SIZE)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


def score_of(query: str, text: str) -> float:
    """How many letters a text shares with a query, of its own."""
    return len(set(query) & set(text)) / (len(text) or 1)


class UpstreamServer:
    """Behaves while `answer` is None. `begun` and `ended` count calls; `bodies` is what it was sent."""

    def __init__(
        self,
        *,
        owned_by: str = "vllm",
        context: int | None = 4096,
        serves: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`serves`: completions, chat/completions, embeddings, rerank; nothing: all."""
        self._entry = {"id": MODEL, "object": "model", "owned_by": owned_by, "max_model_len": context}
        self._tls = tls
        self._serves = serves or ("completions", "chat/completions", "embeddings", "rerank")
        self.answer: Answer | None = None
        self.key: str | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.bodies: list[Any] = []
        self.begun = 0
        self.ended = 0
        self.most = 0
        """Calls that were in progress at the same time."""
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def location(self) -> str:
        """What our server calls the model."""
        return f"openai://127.0.0.1:{self.port}/{MODEL}"

    async def start(self, port: int = 0) -> None:
        """Listen; 0: on a port that the system chooses."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns when the condition holds, which a call changes."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - of whatever a test looks at
                await asyncio.sleep(0.005)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return failure(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        if request.path == "/v1/models":
            return web.json_response({"object": "list", "data": [self._entry]})
        body = await request.json()
        self.bodies.append(body)
        self.begun += 1
        self.most = max(self.most, self.begun - self.ended)
        try:
            if self.answer is not None:
                return await self.answer(request, body)
            return await self.behave(request, body)
        finally:
            self.ended += 1

    async def behave(self, request: web.Request, body: Any) -> web.StreamResponse:
        """As it should."""
        name = request.path.removeprefix("/v1/")
        if name not in self._serves or body["model"] != MODEL:
            return failure(404, f"no {request.path} for {body['model']}")
        await self.go_on.wait()
        if name.endswith("completions"):
            return await self._completion(request, body)
        if name == "embeddings":
            return web.json_response(embeddings(body))
        results = [
            {"index": place, "relevance_score": score_of(body["query"], text)}
            for place, text in enumerate(body["documents"])
        ]
        return web.json_response({"results": sorted(results, key=lambda result: -result["relevance_score"])})

    async def _completion(self, request: web.Request, body: Any) -> web.StreamResponse:
        chats = "messages" in body
        prompt = " ".join(message["content"] or "" for message in body["messages"]) if chats else body["prompt"]
        words = words_of(prompt, body.get("max_tokens", 8))
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(words)}
        answer = chat_event if chats else completion
        if not body.get("stream"):
            whole = chat_answer if chats else completion
            return web.json_response(whole("".join(words), "length", usage))
        response = await begin_events(request)
        for word in words:
            await self.go_on.wait()
            await send_event(response, answer(word))
        await send_event(response, answer("", "length"))
        await send_event(response, {"choices": [], "usage": usage})
        await response.write(_END.encode())
        return response


def completion(text: str, reason: str | None = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    """An answer of /v1/completions, or an event."""
    answer = {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": reason} | more]}
    return answer if usage is None else answer | {"usage": usage}


def chat_answer(content: str | None, reason: str | None = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    """An answer of /v1/chat/completions."""
    message = {"role": "assistant", "content": content} | more
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


def chat_event(content: str | None, reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """An event of /v1/chat/completions."""
    return {"choices": [{"index": 0, "delta": {"content": content} | delta, "finish_reason": reason}]}


def embeddings(body: Any) -> dict[str, Any]:
    """An answer of /v1/embeddings."""
    as_text = body.get("encoding_format") == "base64"
    data = [
        {"index": place, "embedding": base64.b64encode(vector.tobytes()).decode() if as_text else vector.tolist()}
        for place, vector in enumerate(map(vector_of, body["input"]))
    ]
    return {
        "object": "list",
        "data": data,
        "usage": {"prompt_tokens": sum(len(text.split()) for text in body["input"])},
    }


def failure(status: int, message: str, **headers: str) -> web.Response:
    """An error as OpenAI's API has it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=named)


async def begin_events(request: web.Request) -> web.StreamResponse:
    """The head of a stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def send_event(response: web.StreamResponse, value: Any) -> None:
    """One event of JSON."""
    await response.write(f"data: {json.dumps(value)}\n\n".encode())


def saying(status: int, message: str, **headers: str) -> Answer:
    """Answers with an error."""

    async def answer(_request: web.Request, _body: Any) -> web.StreamResponse:
        return failure(status, message, **headers)

    return answer


def sending(data: bytes, *, cut: bool = True) -> Answer:
    """Writes bytes in place of an answer, head and all; then closes the connection, or keeps it open and silent."""

    async def answer(request: web.Request, _body: Any) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(data)
        if not cut:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        request.transport.close()
        raise asyncio.CancelledError

    return answer


def streaming(*parts: str | bytes, cut: bool = False) -> Answer:
    """Sends parts of a stream as they are; then ends it in order, or cuts it off."""

    async def answer(request: web.Request, _body: Any) -> web.StreamResponse:
        response = await begin_events(request)
        for part in parts:
            await response.write(part.encode() if isinstance(part, str) else part)
        if cut:
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


def sending_events(*values: Any) -> Answer:
    """Sends a stream of these values, with its end."""
    return streaming(*(f"data: {json.dumps(value)}\n\n" for value in values), _END)


def giving(value: Any) -> Answer:
    """Answers with this JSON, or with this text."""

    async def answer(_request: web.Request, _body: Any) -> web.StreamResponse:
        text = value if isinstance(value, str) else json.dumps(value)
        return web.Response(text=text, content_type="application/json")

    return answer


@contextlib.asynccontextmanager
async def upstream_server(**about: Any) -> AsyncIterator[UpstreamServer]:
    """One that listens in this block."""
    server = UpstreamServer(**about)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
