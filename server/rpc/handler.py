"""One method for each of the contract's RPCs: no I/O, no model code."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from typing import TYPE_CHECKING, Any

from predictor.ttypes import (
    BatchJob,
    BatchRequest,
    EmbeddingMatrix,
    EmbedOptions,
    Generation,
    GenerationChunk,
    GenerationOptions,
    Lane,
    ModelInfo,
    ReplyOptions,
    RequestOptions,
    ServerStatus,
)

from server.batch.jobs import NoJobs
from server.errors import ModelError, invalid_argument, too_large
from server.models.capabilities import Capability
from server.models.requests import ReplyFilter, RequestContext
from server.models.sampling import sampling_of
from server.rpc.fan_out import answer_all
from server.rpc.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from server.batch.jobs import Jobs
    from server.calls import Pending
    from server.config import Settings
    from server.models.model import Model
    from server.models.registry import Registry

# A look at an attribute of an enumeration takes four times as long as a look at a name.
_CLASSIFY, _REPLY, _EMBED, _GENERATE = Capability

_REQUEST_ID_CHARACTERS = 128
_MOST_REPLIES = 1000
_ALL_REPLIES = ReplyFilter()
_FLOAT_BYTES, _DOUBLE_BYTES = 4, 8


class Handler:
    """What the transport calls. `server_status` makes the answer to `status`."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        server_status: Callable[[], ServerStatus],
        jobs: Jobs | NoJobs | None = None,
    ) -> None:
        self._registry = registry
        self._jobs = jobs or NoJobs()
        self._settings = settings
        self._server_status = server_status
        self._timeout_ns = settings.timeout_ms * 1_000_000
        self._tasks: set[asyncio.Task[Any]] = set()
        self.streams = Streams(settings.streams)

    async def predict(self, doc: str, options: RequestOptions | None) -> dict[str, float]:
        model, context = self._admit(_CLASSIFY, options)
        return await model.predict(doc, context)

    async def predict_batch(self, docs: list[str], options: RequestOptions | None) -> list[dict[str, float]]:
        model, context = self._admit(_CLASSIFY, options)
        return await answer_all(docs, lambda doc: model.predict(doc, context), "docs")

    async def reply(
        self, message: str, options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        reply_filter = _reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        return await model.reply([message], reply_filter, context)

    async def reply_batch(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> list[dict[str, float]]:
        reply_filter = _reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        return await answer_all(messages, lambda message: model.reply([message], reply_filter, context), "messages")

    async def reply_conversation(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        reply_filter = _reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        return await model.reply(messages, reply_filter, context)

    async def embed(self, text: str, options: RequestOptions | None, embed_options: EmbedOptions | None) -> list[float]:
        model, context = self._admit(_EMBED, options)
        return _numbers(await model.embed(text, _truncate(embed_options), context))

    async def embed_batch(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> list[list[float]]:
        vectors, _ = await self._vectors(texts, options, embed_options)
        self._require_fit(vectors, _DOUBLE_BYTES, "; embed_matrix takes half as many")
        return [_numbers(vector) for vector in vectors]

    async def embed_matrix(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> EmbeddingMatrix:
        vectors, tokens = await self._vectors(texts, options, embed_options)
        self._require_fit(vectors, _FLOAT_BYTES)
        columns = len(vectors[0]) // _FLOAT_BYTES if vectors else 0
        return EmbeddingMatrix(len(vectors), columns, b"".join(vectors), tokens)

    async def generate(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> Generation:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens)
        tokens = await model.prompt_tokens(prompt, sampling.max_tokens)
        done = await model.generate(tokens, sampling, context)
        return Generation(prompt, done.text, done.token_count, done.finish_reason, done.prompt_tokens)

    async def generate_begin(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> str:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens)
        tokens = await model.prompt_tokens(prompt, sampling.max_tokens)
        return self.streams.begin(
            lambda on_text: model.generate(tokens, sampling, context, on_text), context.deadline_ns
        )

    async def generate_next(self, stream_id: str, wait_ms: int) -> GenerationChunk:
        return await self.streams.next(stream_id, wait_ms)

    async def generate_cancel(self, stream_id: str) -> None:
        self.streams.cancel(stream_id)

    async def submit_batch(self, request: BatchRequest) -> BatchJob:
        return await self._finish(self._jobs.submit(request))

    async def get_batch(self, id: str) -> BatchJob:  # noqa: A002 - the contract's name
        return await self._jobs.job(id)

    async def cancel_batch(self, id: str) -> BatchJob:  # noqa: A002
        return await self._jobs.cancel(id)

    async def list_batches(self, limit: int) -> list[BatchJob]:
        return await self._jobs.newest(limit)

    async def list_models(self) -> list[ModelInfo]:
        return self._registry.infos()

    async def load_model(self, name: str, location: str) -> ModelInfo:
        path = self._below_model_root(location)
        try:
            return await self._finish(self._registry.load(name, str(path)))
        except ModelError as error:
            raise invalid_argument(str(error)) from None

    async def unload_model(self, name: str) -> None:
        self._model_root()
        await self._finish(self._registry.unload(name))

    async def status(self) -> ServerStatus:
        return self._server_status()

    def _admit(self, capability: Capability, options: RequestOptions | None) -> tuple[Model, RequestContext]:
        """The model that answers and the context on which the request waits. Raises PredictionError."""
        now = time.monotonic_ns()
        if options is None:
            context = RequestContext(Lane.INTERACTIVE, now + self._timeout_ns, None)
            return self._registry.model(capability, None), context
        lane = Lane.INTERACTIVE if options.lane is None else options.lane
        if lane not in Lane._VALUES_TO_NAMES:
            raise invalid_argument(f"options.lane is {lane}; it must be 0 (INTERACTIVE) or 1 (BULK)")
        timeout_ms, longest = options.timeout_ms, self._settings.max_timeout_ms
        if timeout_ms is None:
            timeout_ms = self._settings.timeout_ms
        elif not 1 <= timeout_ms <= longest:
            raise invalid_argument(
                f"options.timeout_ms is {timeout_ms}; it must lie between 1 and {longest} (setting max_timeout_ms)"
            )
        request_id = options.request_id
        if request_id is not None and len(request_id) > _REQUEST_ID_CHARACTERS:
            raise invalid_argument(f"options.request_id has more than {_REQUEST_ID_CHARACTERS} characters")
        return self._registry.model(capability, options.model), RequestContext(
            lane, now + timeout_ms * 1_000_000, request_id
        )

    async def _vectors(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> tuple[list[bytes], int | None]:
        """The texts' vectors, and how many tokens they are together where the model tells."""
        truncate = _truncate(embed_options)
        model, context = self._admit(_EMBED, options)
        requests: list[Pending[bytes]] = []

        def submit(text: str) -> Pending[bytes]:
            request = model.embed(text, truncate, context)
            requests.append(request)
            return request

        vectors = await answer_all(texts, submit, "texts")
        counts = [request.tokens for request in requests if request.tokens is not None]
        return vectors, sum(counts) if len(counts) == len(requests) else None

    def _require_fit(self, vectors: list[bytes], number_bytes: int, hint: str = "") -> None:
        """Raise TOO_LARGE for an answer that would keep the event loop, and be too long for its reader."""
        size, most = sum(map(len, vectors)) // _FLOAT_BYTES * number_bytes, self._settings.message_bytes
        if size > most:
            what = f"{len(vectors)} vectors take {size} bytes, over the limit of {most} (setting message_bytes)"
            raise too_large(f"texts: {what}; ask for fewer at a time{hint}")

    def _model_root(self) -> Path:
        root = self._settings.model_root
        if root is None:
            raise invalid_argument("loading and unloading over RPC is off; the setting model_root turns it on")
        return root

    def _below_model_root(self, location: str) -> Path:
        root = self._model_root().resolve()
        try:
            path = (root / location).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # too long a name, a loop of links, a NUL
            raise invalid_argument(f"location: {error}") from None
        if not path.is_relative_to(root):
            raise invalid_argument("location lies outside of the folder that the setting model_root names")
        return path

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in a task of its own, which goes on when the caller goes away."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await task


def _reply_filter(options: ReplyOptions | None) -> ReplyFilter:
    """Which replies are wanted. Raises INVALID_ARGUMENT."""
    if options is None:
        return _ALL_REPLIES
    most, threshold = options.max_replies, options.threshold
    if most is not None and not 1 <= most <= _MOST_REPLIES:
        raise invalid_argument(f"reply_options.max_replies is {most}; it must lie between 1 and {_MOST_REPLIES}")
    if threshold is not None and not math.isfinite(threshold):
        raise invalid_argument(f"reply_options.threshold is {threshold}; it must be a finite number")
    return ReplyFilter(most, threshold)


def _truncate(options: EmbedOptions | None) -> bool:
    """Whether a text that is too long is cut."""
    return options is None or options.truncate is not False


def _numbers(vector: bytes) -> list[float]:
    """What a model gives, as the contract's list<double>."""
    return array("f", vector).tolist()
