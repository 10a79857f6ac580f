"""One method for each of the contract's RPCs: no I/O, no model code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from predictor.ttypes import (
    BatchJob,
    BatchRequest,
    EmbeddingMatrix,
    EmbedOptions,
    Generation,
    GenerationChunk,
    GenerationOptions,
    ModelInfo,
    ReplyOptions,
    RequestOptions,
    ServerStatus,
)

from server.batch.jobs import NoJobs
from server.errors import ModelError, PredictionError, invalid_argument
from server.models.capabilities import Capability
from server.models.registry import check_name
from server.models.sampling import sampling_of
from server.rpc.admission import Admission, explained
from server.rpc.fan_out import answer_all
from server.rpc.model_root import ModelRoot
from server.rpc.options import reply_filter, truncates
from server.rpc.streams import Streams
from server.rpc.vectors import DOUBLE_BYTES, FLOAT_BYTES, matrix, numbers, require_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from server.batch.jobs import Jobs
    from server.calls import Pending
    from server.config import Settings
    from server.models.registry import Registry
    from server.models.requests import Generated
    from server.rpc.streams import Listener

# A look at an attribute of an enumeration takes four times as long as a look at a name.
_CLASSIFY, _REPLY, _EMBED, _GENERATE = Capability


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
        self._admit = Admission(registry, settings).admit
        self._model_root = ModelRoot(settings.model_root)
        self._max_answer_bytes = settings.message_bytes
        self._server_status = server_status
        self._tasks: set[asyncio.Task[Any]] = set()
        self.streams = Streams(settings.streams)

    # ------------------------------------------------------------------------------------------------------ predictions

    async def predict(self, doc: str, options: RequestOptions | None) -> dict[str, float]:
        model, context = self._admit(_CLASSIFY, options)
        try:
            return await model.predict(doc, context)
        except PredictionError as error:
            raise explained(error, "doc", options) from None

    async def predict_batch(self, docs: list[str], options: RequestOptions | None) -> list[dict[str, float]]:
        model, context = self._admit(_CLASSIFY, options)
        try:
            return await answer_all(docs, lambda doc: model.predict(doc, context), "docs")
        except PredictionError as error:
            raise explained(error, "docs", options) from None

    async def reply(
        self, message: str, options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        chosen = reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        try:
            return await model.reply([message], chosen, context)
        except PredictionError as error:
            raise explained(error, "message", options) from None

    async def reply_batch(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> list[dict[str, float]]:
        chosen = reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        try:
            return await answer_all(messages, lambda message: model.reply([message], chosen, context), "messages")
        except PredictionError as error:
            raise explained(error, "messages", options) from None

    async def reply_conversation(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        chosen = reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        try:
            return await model.reply(messages, chosen, context)
        except PredictionError as error:
            raise explained(error, "messages", options) from None

    async def embed(self, text: str, options: RequestOptions | None, embed_options: EmbedOptions | None) -> list[float]:
        model, context = self._admit(_EMBED, options)
        try:
            return numbers(await model.embed(text, truncates(embed_options), context))
        except PredictionError as error:
            raise explained(error, "text", options) from None

    async def embed_batch(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> list[list[float]]:
        vectors, _ = await self._vectors(texts, options, embed_options)
        require_fit(vectors, DOUBLE_BYTES, self._max_answer_bytes, "; embed_matrix takes half as many")
        return [numbers(vector) for vector in vectors]

    async def embed_matrix(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> EmbeddingMatrix:
        vectors, tokens = await self._vectors(texts, options, embed_options)
        require_fit(vectors, FLOAT_BYTES, self._max_answer_bytes)
        return matrix(vectors, tokens)

    async def generate(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> Generation:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens)
        try:
            tokens = await model.prompt_tokens(prompt, sampling.max_tokens)
            done = await model.generate(tokens, sampling, context)
        except PredictionError as error:
            raise explained(error, "prompt", options) from None
        return Generation(prompt, done.text, done.token_count, done.finish_reason, done.prompt_tokens)

    async def generate_begin(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> str:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens)

        async def text(on_text: Listener) -> Generated:
            try:
                return await model.generate(tokens, sampling, context, on_text)
            except PredictionError as error:
                raise explained(error, "prompt", options) from None

        tokens = await model.prompt_tokens(prompt, sampling.max_tokens)
        return self.streams.begin(text, context.deadline_ns)

    async def generate_next(self, stream_id: str, wait_ms: int) -> GenerationChunk:
        return await self.streams.next(stream_id, wait_ms)

    async def generate_cancel(self, stream_id: str) -> None:
        self.streams.cancel(stream_id)

    # ------------------------------------------------------------------------------------------------------- batch jobs

    async def submit_batch(self, request: BatchRequest) -> BatchJob:
        return await self._finish(self._jobs.submit(request))

    async def get_batch(self, id: str) -> BatchJob:  # noqa: A002 - the contract's name
        return await self._jobs.job(id)

    async def cancel_batch(self, id: str) -> BatchJob:  # noqa: A002
        return await self._jobs.cancel(id)

    async def list_batches(self, limit: int) -> list[BatchJob]:
        return await self._jobs.newest(limit)

    # ----------------------------------------------------------------------------------------------- models and status

    async def list_models(self) -> list[ModelInfo]:
        return self._registry.infos()

    async def load_model(self, name: str, location: str) -> ModelInfo:
        path = self._model_root.path_of(location)
        try:
            check_name(name)
        except ModelError as error:
            raise invalid_argument(str(error), field="name") from None
        try:
            return await self._finish(self._registry.load(name, str(path)))
        except ModelError as error:
            raise invalid_argument(str(error), field="location") from None

    async def unload_model(self, name: str) -> None:
        self._model_root.require()
        await self._finish(self._registry.unload(name))

    async def status(self) -> ServerStatus:
        return self._server_status()

    # ---------------------------------------------------------------------------------------------------------- helpers

    async def _vectors(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> tuple[list[bytes], int | None]:
        """The texts' vectors, and how many tokens they are together where the model tells."""
        truncate = truncates(embed_options)
        model, context = self._admit(_EMBED, options)
        requests: list[Pending[bytes]] = []

        def submit(text: str) -> Pending[bytes]:
            request = model.embed(text, truncate, context)
            requests.append(request)
            return request

        try:
            vectors = await answer_all(texts, submit, "texts")
        except PredictionError as error:
            raise explained(error, "texts", options) from None
        counts = [request.tokens for request in requests if request.tokens is not None]
        return vectors, sum(counts) if len(counts) == len(requests) else None

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in a task of its own, which goes on when the caller goes away."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await task
