"""The client for asyncio: a method for each of the contract's."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
import time
from typing import TYPE_CHECKING, TypeVar, Unpack

from predictor_client import calls
from predictor_client.asynchronous.connections import AsyncConnection, AsyncPool, sleep
from predictor_client.errors import CallTimeout, PredictorError
from predictor_client.policy import PORT, Address, Policy, left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from ssl import SSLContext
    from types import TracebackType
    from typing import Self

    from predictor_client.calls import Call, Message
    from predictor_client.options import (
        CallOptions,
        ChatOptions,
        ClassifyOptions,
        EmbedOptions,
        GenerationOptions,
        JobOptions,
        PromptOptions,
        ReplyOptions,
        RerankOptions,
        SparseOptions,
        TokenizeOptions,
        TokenOptions,
        VectorOptions,
    )
    from predictor_client.types import (
        BatchJob,
        ChatCompletion,
        ChatPrompt,
        EmbeddingMatrix,
        Entity,
        FinishReason,
        Generation,
        GenerationChunk,
        Lane,
        ModelInfo,
        Ranked,
        ScoredLabel,
        ServerStatus,
        SparseVector,
        Token,
    )
    from predictor_client.vectors import Matrix, Vector

T = TypeVar("T")
_WAIT_S = 10.0  # for more text of a stream
_END_S = 1.0  # after its deadline a text ends at once, but it may have to be asked for
_CANCEL_S = 2.0


class AsyncClient:
    """Calls a server's methods over a pool of connections, which are opened as they are needed.

    `address`: HOST:PORT, or unix:PATH of a server's unix_socket.

    `timeout`: seconds for a call, the time for a connection and for retries included; None leaves it to the server.
    `connections`: maximum number of calls and streams at a time. `retries`: how often a call is made again that cannot
    have run; with `idempotent` also one whose connection was lost, and which may have run. `model` and `lane`: of calls
    that name none.

    `token`: what a server with tokens knows the caller by. `tls`: True where an authority that this machine trusts has
    signed the server's certificate, or a context with other authorities or with a certificate of your own.

    Every method takes `timeout`, and those that a model answers `model`, `lane` and `request_id`.

    Calls raise the errors of errors.py, TypeError for options that there are not, and ValueError.
    """

    def __init__(
        self,
        address: str = f"localhost:{PORT}",
        *,
        timeout: float | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        token: str | None = None,
        tls: SSLContext | bool = False,
        connect_timeout: float = 5.0,
        connections: int = 64,
        retries: int = 2,
        idempotent: bool = False,
        max_answer_bytes: int = 256 << 20,
    ) -> None:
        self._policy = Policy(
            Address.parse(address),
            connect_timeout,
            connections,
            retries,
            idempotent,
            max_answer_bytes,
            ssl.create_default_context() if tls is True else tls or None,
            token,
        )
        self._pool = AsyncPool(self._policy)
        self._defaults: dict[str, object] = {"timeout": timeout, "model": model, "lane": lane}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calls that are in progress end as they would have."""
        await self._pool.aclose()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        idempotent: bool | None = None,
        retries: int | None = None,
    ) -> AsyncClient:
        """A client with the same connections and, where they are given, other defaults."""
        other = AsyncClient.__new__(AsyncClient)
        changed = {"idempotent": idempotent, "retries": retries}
        given = {name: value for name, value in changed.items() if value is not None}
        other._policy = dataclasses.replace(self._policy, **given)  # type: ignore[arg-type]
        other._pool = self._pool
        defaults = {"timeout": timeout, "model": model, "lane": lane}
        other._defaults = self._defaults | {name: value for name, value in defaults.items() if value is not None}
        return other

    # -------------------------------------------------------------------------------------------------- classification

    async def predict(self, doc: str, **options: Unpack[CallOptions]) -> dict[str, float]:
        """Label -> score of one document."""
        return await self._run(calls.predict(doc, self._with(options)))

    async def predict_batch(self, docs: Iterable[str], **options: Unpack[CallOptions]) -> list[dict[str, float]]:
        """The same for many, in their order; one that fails fails the call, and the error's field names it."""
        return await self._run(calls.predict_batch(docs, self._with(options)))

    async def classify(self, texts: Iterable[str], **options: Unpack[ClassifyOptions]) -> list[list[ScoredLabel]]:
        """Labels of each text, the best first; with candidate_labels of your own."""
        return await self._run(calls.classify(texts, self._with(options)))

    async def classify_tokens(self, text: str, **options: Unpack[TokenOptions]) -> list[Entity]:
        """Parts of the text that have a label, such as names, in their order."""
        return await self._run(calls.classify_tokens(text, self._with(options)))

    async def classify_tokens_batch(self, texts: Iterable[str], **options: Unpack[TokenOptions]) -> list[list[Entity]]:
        """The same for many."""
        return await self._run(calls.classify_tokens_batch(texts, self._with(options)))

    async def rerank(self, query: str, texts: Iterable[str], **options: Unpack[RerankOptions]) -> list[Ranked]:
        """How well each text answers the query; the best first."""
        return await self._run(calls.rerank(query, texts, self._with(options)))

    async def reply(self, message: str, **options: Unpack[ReplyOptions]) -> dict[str, float]:
        """Suggested reply -> score."""
        return await self._run(calls.reply(message, self._with(options)))

    async def reply_batch(self, messages: Iterable[str], **options: Unpack[ReplyOptions]) -> list[dict[str, float]]:
        """The same for many messages that have nothing to do with each other."""
        return await self._run(calls.reply_batch(messages, self._with(options)))

    async def reply_conversation(self, messages: Iterable[str], **options: Unpack[ReplyOptions]) -> dict[str, float]:
        """The same for the messages of one conversation."""
        return await self._run(calls.reply_conversation(messages, self._with(options)))

    # --------------------------------------------------------------------------------------------------------- vectors

    async def embed(self, text: str, **options: Unpack[VectorOptions]) -> Vector:
        """The text's vector, float32."""
        return await self._run(calls.embed(text, self._with(options)))

    async def embed_batch(self, texts: Iterable[str], **options: Unpack[VectorOptions]) -> Matrix:
        """Their vectors, float32, one a row."""
        return await self._run(calls.embed_batch(texts, self._with(options)))

    async def embed_matrix(self, texts: Iterable[str], **options: Unpack[EmbedOptions]) -> EmbeddingMatrix:
        """Their vectors, by encoding also int8 or bits, and how many tokens the texts are."""
        return await self._run(calls.embed_matrix(texts, self._with(options)))

    async def embed_ids(self, ids: Iterable[Iterable[int]], **options: Unpack[EmbedOptions]) -> EmbeddingMatrix:
        """The same of texts that are ids of the model's tokens already, special ones included."""
        return await self._run(calls.embed_ids(ids, self._with(options)))

    async def embed_tokens(self, texts: Iterable[str], **options: Unpack[EmbedOptions]) -> list[EmbeddingMatrix]:
        """A vector for each token of each text (ColBERT)."""
        return await self._run(calls.embed_tokens(texts, self._with(options)))

    async def embed_sparse(self, texts: Iterable[str], **options: Unpack[SparseOptions]) -> list[SparseVector]:
        """Vectors as long as the vocabulary with few numbers that are not 0 (SPLADE)."""
        return await self._run(calls.embed_sparse(texts, self._with(options)))

    async def tokenize(self, texts: Iterable[str], **options: Unpack[TokenizeOptions]) -> list[list[Token]]:
        """The tokens of each text, whole."""
        return await self._run(calls.tokenize(texts, self._with(options)))

    async def detokenize(self, ids: Iterable[Iterable[int]], **options: Unpack[CallOptions]) -> list[str]:
        """The text that each list of tokens is."""
        return await self._run(calls.detokenize(ids, self._with(options)))

    # ------------------------------------------------------------------------------------------------------ generation

    async def generate(self, prompt: str = "", **options: Unpack[GenerationOptions]) -> Generation:
        """The prompt's continuation, when it is complete."""
        return await self._run(calls.generate(prompt, self._with(options)))

    def generate_stream(self, prompt: str = "", **options: Unpack[GenerationOptions]) -> AsyncTextStream:
        """The same as it grows."""
        return self._stream(calls.generate_begin(prompt, self._with(options)))

    async def chat(self, messages: Iterable[Message], **options: Unpack[ChatOptions]) -> ChatCompletion:
        """What the model says next. A message is a ChatMessage, or {"role": ..., "content": ...}."""
        return await self._run(calls.chat(messages, self._with(options)))

    def chat_stream(self, messages: Iterable[Message], **options: Unpack[ChatOptions]) -> AsyncTextStream:
        """The same as it grows."""
        return self._stream(calls.chat_begin(messages, self._with(options)))

    async def chat_prompt(self, messages: Iterable[Message], **options: Unpack[PromptOptions]) -> ChatPrompt:
        """The prompt that chat would give to the model."""
        return await self._run(calls.chat_prompt(messages, self._with(options)))

    # ------------------------------------------------------------------------------------------- jobs, models, status

    async def submit_batch(
        self,
        method: str,
        input: str,  # noqa: A002 - the contract's name
        output: str,
        *,
        timeout: float | None = None,
        **options: Unpack[JobOptions],
    ) -> BatchJob:
        """Accepts a job, files in and files out, which runs on the bulk lane."""
        return await self._run(calls.submit_batch(method, input, output, options, self._timeout(timeout)))

    async def get_batch(self, id: str, *, timeout: float | None = None) -> BatchJob:  # noqa: A002 - as above
        """How far it is."""
        return await self._run(calls.get_batch(id, self._timeout(timeout)))

    async def wait_batch(self, id: str, *, timeout: float | None = None, poll: float = 1.0) -> BatchJob:  # noqa: A002 - as above
        """The job when it has ended, as completed, failed or cancelled. Raises CallTimeout after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job = await self.get_batch(id)
            if job.has_ended:
                return job
            remaining = left(deadline)
            if remaining == 0:
                raise CallTimeout(f"the job {id} has not ended; {job.progress:.0%} is done")
            await sleep(poll if remaining is None else min(poll, remaining))

    async def cancel_batch(self, id: str, *, timeout: float | None = None) -> BatchJob:  # noqa: A002 - as above
        """Stops it."""
        return await self._run(calls.cancel_batch(id, self._timeout(timeout)))

    async def resume_batch(self, id: str, *, timeout: float | None = None) -> BatchJob:  # noqa: A002 - as above
        """Lets it go on where it failed or was cancelled: files that are done stay so."""
        return await self._run(calls.resume_batch(id, self._timeout(timeout)))

    async def list_batches(self, limit: int = 100, *, timeout: float | None = None) -> list[BatchJob]:
        """The newest jobs first."""
        return await self._run(calls.list_batches(limit, self._timeout(timeout)))

    async def list_models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """What the server serves."""
        return await self._run(calls.list_models(self._timeout(timeout)))

    async def load_model(self, name: str, location: str, *, timeout: float | None = None) -> ModelInfo:
        """Loads a model, or swaps it when the name is taken. Without `timeout` it may take as long as it takes."""
        return await self._run(calls.load_model(name, location, timeout))

    async def unload_model(self, name: str, *, timeout: float | None = None) -> None:
        """Finishes what waits for the model, then frees it. `timeout` as for load_model."""
        await self._run(calls.unload_model(name, timeout))

    async def status(self, *, timeout: float | None = None) -> ServerStatus:
        """The server's state, and each model's counters."""
        return await self._run(calls.status(self._timeout(timeout)))

    # ---------------------------------------------------------------------------------------------------------- inside

    def _with(self, options: Mapping[str, object]) -> Mapping[str, object]:
        return {**self._defaults, **{name: value for name, value in options.items() if value is not None}}

    def _timeout(self, timeout: float | None) -> float | None:
        return self._defaults["timeout"] if timeout is None else timeout  # type: ignore[return-value]

    def _stream(self, begin: Call[str]) -> AsyncTextStream:
        return AsyncTextStream(_AsyncCaller(self._pool, self._policy), begin)

    async def _run(self, call: Call[T]) -> T:
        caller = _AsyncCaller(self._pool, self._policy)
        result, connection = await caller.answered(call, call.deadline())
        self._pool.give_back(connection)
        return result


class _AsyncCaller:
    """Makes a call, and again where the policy says so."""

    def __init__(self, pool: AsyncPool, policy: Policy) -> None:
        self.pool = pool
        self._policy = policy

    async def answered(self, call: Call[T], deadline: float | None) -> tuple[T, AsyncConnection]:
        """The result, and the connection that it came by, which is to be given back."""
        retries = 0
        while True:
            try:
                return await self._once(call, deadline)
            except PredictorError as error:
                pause = self._policy.pause(error, retries, call.method, deadline)
                if pause is None:
                    raise
            await sleep(pause)
            retries += 1

    async def _once(self, call: Call[T], deadline: float | None) -> tuple[T, AsyncConnection]:
        connection = await self.pool.take(deadline)
        try:
            return await connection.call(call, deadline), connection
        except BaseException:
            self.pool.give_back(connection)
            raise


class AsyncTextStream:
    """A text that grows: iterate over its chunks, best in a with block, whose end cancels what nobody reads any more.

    A stream has one connection until it ends. The first chunk, or the block's beginning, starts it; errors come where
    the next chunk would. A stream that is left without a with block ends at its deadline.
    """

    def __init__(self, caller: _AsyncCaller, begin: Call[str]) -> None:
        self._caller = caller
        self._begin = begin
        self._deadline: float | None = None
        self._id: str | None = None
        self._connection: AsyncConnection | None = None
        self._is_closed = False
        self.text = ""
        """What has come so far."""
        self.token_count = 0
        self.finish_reason: FinishReason | None = None
        """Set when the text is complete."""
        self.prompt_tokens: int | None = None

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[GenerationChunk]:
        return self

    async def __anext__(self) -> GenerationChunk:
        await self._start()
        while self._connection is not None and self._id is not None:
            remaining = left(self._deadline)
            wait_s = _WAIT_S if remaining is None else min(_WAIT_S, remaining + _END_S)
            call = calls.generate_next(self._id, wait_s)
            chunk = await self._next(self._connection, call)
            if chunk.finish_reason is not None or chunk.text or chunk.logprobs or chunk.tool_calls or chunk.prompt:
                return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel the text, unless it is complete."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        stream_id, self._id = self._id, None
        if connection is None:
            return
        is_usable = connection.is_usable
        try:
            if stream_id is not None and is_usable:
                with contextlib.suppress(PredictorError):
                    await connection.call(calls.generate_cancel(stream_id), time.monotonic() + _CANCEL_S)
        finally:
            self._caller.pool.give_back(connection)
        if stream_id is not None and not is_usable:  # an answer was not waited for: by another connection
            with contextlib.suppress(PredictorError):
                cancel = calls.generate_cancel(stream_id)
                _, other = await self._caller.answered(cancel, time.monotonic() + _CANCEL_S)
                self._caller.pool.give_back(other)

    async def _start(self) -> None:
        if self._connection is None and not self._is_closed:
            self._deadline = self._begin.deadline()
            begun = await self._caller.answered(self._begin, self._deadline)
            self._id, self._connection = begun

    async def _next(self, connection: AsyncConnection, call: Call[GenerationChunk]) -> GenerationChunk:
        try:
            chunk = await connection.call(call, None if self._deadline is None else self._deadline + _WAIT_S)
        except PredictorError:
            if connection.is_usable:
                self._id = None  # the server's own answer: the stream is over
            await self.aclose()
            raise
        self.text += chunk.text
        self.token_count = chunk.token_count
        if chunk.finish_reason is not None:
            self.finish_reason, self.prompt_tokens, self._id = chunk.finish_reason, chunk.prompt_tokens, None
            await self.aclose()
        return chunk
