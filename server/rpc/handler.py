"""One method for each of the contract's RPCs: no I/O, no model code."""

from __future__ import annotations

import asyncio
import time
from math import isfinite
from typing import TYPE_CHECKING, Any

from predictor.ttypes import (
    BatchJob,
    BatchRequest,
    ChatCompletion,
    ChatMessage,
    ChatOptions,
    ChatPrompt,
    ClassifyOptions,
    EmbeddingMatrix,
    EmbedOptions,
    Entity,
    Generation,
    GenerationChunk,
    GenerationOptions,
    ModelInfo,
    Ranked,
    ReplyOptions,
    RequestOptions,
    RerankOptions,
    ScoredLabel,
    ServerStatus,
    SparseOptions,
    SparseVector,
    Token,
    TokenizeOptions,
    TokenOptions,
)

from server.batch.jobs import NoJobs
from server.clients import CALLING
from server.errors import ModelError, PredictionError, at, deadline_exceeded, invalid_argument, unavailable
from server.hub.errors import HubUnavailableError
from server.models import call_options as read
from server.models import pairs
from server.models.answers import (
    LIST_BYTES,
    RANK_BYTES,
    AnswerSize,
    Checks,
    best_labels,
    best_labels_bytes,
    require_fit,
    scores_bytes,
)
from server.models.capabilities import Capability
from server.models.chat.conversation import conversation_of
from server.models.registry import check_name
from server.models.requests import ITS_OWN_JSON, ITS_OWN_SCORES
from server.models.sampling import sampling_of, sampling_of_chat
from server.models.shown import without_folders
from server.models.vectors import DOUBLE_BYTES, FLOAT_BYTES, SPARSE, is_finite, matrix, numbers, sparse
from server.rpc.admission import Admission, explained
from server.rpc.lists import answer_each, explained_for, tokens_of
from server.rpc.model_root import ModelRoot
from server.rpc.plain import PlainPredict
from server.rpc.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from server.batch.jobs import Jobs
    from server.calls import Pending
    from server.config import Settings
    from server.models.model import Model
    from server.models.registry import Registry
    from server.models.requests import ChatAnswer, Generated
    from server.rpc.streams import Listener

# A look at an attribute of an enumeration takes four times as long as a look at a name.
(
    _CLASSIFY,
    _REPLY,
    _EMBED,
    _GENERATE,
    _RERANK,
    _CLASSIFY_TOKENS,
    _EMBED_SPARSE,
    _EMBED_TOKENS,
    _EMBED_IDS,
    _TOKENIZE,
    _CHAT,
) = Capability

# About what an answer has for a number of a sparse vector, and for a token.
_SPARSE_BYTES, _TOKEN_BYTES = 12, 32


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
        self._model_root = ModelRoot(settings.model_root, settings.hub_models)
        self._max_answer_bytes = settings.message_bytes
        self._checks = Checks(registry)
        self.plain = {"predict": PlainPredict(registry, settings, self._checks)}
        """Method -> what begins its calls of one text without options."""
        self._server_status = server_status
        self._tasks: set[asyncio.Task[Any]] = set()
        self.streams = Streams(settings.streams, settings.client_share, settings.stream_orphan_s)

    # ------------------------------------------------------------------------------------------------------ predictions

    async def predict(self, doc: str, options: RequestOptions | None) -> dict[str, float]:
        model, context = self._admit(_CLASSIFY, options)
        try:
            scores = await model.predict(doc, ITS_OWN_SCORES, context)
        except PredictionError as error:
            raise explained(error, "doc", options) from None
        if not isfinite(sum(scores.values())):
            raise self._checks.failure(model, context)
        return scores

    async def predict_json(self, doc: str, options: RequestOptions | None) -> bytes | dict[str, float]:
        """As predict; of a model that writes JSON the scores in bytes, best first, as HTTP answers with them."""
        model, context = self._admit(_CLASSIFY, options)
        scores: Any  # of bytes too, where the model writes JSON
        try:
            scores = await model.predict(doc, ITS_OWN_JSON, context)
        except PredictionError as error:
            raise explained(error, "doc", options) from None
        if scores.__class__ is not bytes and not isfinite(sum(scores.values())):
            raise self._checks.failure(model, context)
        return scores  # type: ignore[no-any-return]

    async def predict_batch(self, docs: list[str], options: RequestOptions | None) -> list[dict[str, float]]:
        model, context = self._admit(_CLASSIFY, options, len(docs))
        require_fit(len(docs), len(docs) * scores_bytes(model.labels), self._max_answer_bytes, "docs")
        check = self._checks.scores(model, context, self._size_of_scores(model))
        return await answer_each(
            docs, lambda doc: model.predict(doc, ITS_OWN_SCORES, context), check, "docs", options, context.client
        )

    async def classify(
        self, texts: list[str], options: RequestOptions | None, classify_options: ClassifyOptions | None
    ) -> list[list[ScoredLabel]]:
        labels = len(classify_options.candidate_labels or ()) if classify_options is not None else 0
        model, context = self._admit(_CLASSIFY, options, len(texts) * max(labels, 1))
        wanted = read.labelling(classify_options, model)
        size = len(texts) * best_labels_bytes(wanted.candidate_labels or model.labels, wanted.top_k)
        require_fit(len(texts), size, self._max_answer_bytes, "texts")
        if wanted.candidate_labels:
            check = self._checks.entailment(model, context)
            answers = await explained_for(pairs.label(texts, wanted, model, context, check), "texts", options)
        else:
            answers = await answer_each(
                texts,
                lambda text: model.predict(text, wanted.classification, context),
                self._checks.scores(model, context, self._size_of_scores(model)),
                "texts",
                options,
                context.client,
            )
        return [best_labels(scores, wanted.top_k) for scores in answers]

    async def classify_tokens(
        self, text: str, options: RequestOptions | None, token_options: TokenOptions | None
    ) -> list[Entity]:
        tagging = read.tagging(token_options)
        model, context = self._admit(_CLASSIFY_TOKENS, options)
        try:
            found = await model.classify_tokens(text, tagging, context)
            self._checks.entities(model, context)(found)
        except PredictionError as error:
            raise explained(error, "text", options) from None
        return [Entity(*entity) for entity in found]

    async def classify_tokens_batch(
        self, texts: list[str], options: RequestOptions | None, token_options: TokenOptions | None
    ) -> list[list[Entity]]:
        tagging = read.tagging(token_options)
        model, context = self._admit(_CLASSIFY_TOKENS, options, len(texts))
        check = self._checks.entities(model, context, AnswerSize(self._max_answer_bytes))
        answers = await answer_each(
            texts, lambda text: model.classify_tokens(text, tagging, context), check, "texts", options, context.client
        )
        return [[Entity(*entity) for entity in found] for found in answers]

    async def rerank(
        self, query: str, texts: list[str], options: RequestOptions | None, rerank_options: RerankOptions | None
    ) -> list[Ranked]:
        model, context = self._admit(_RERANK, options, len(texts))
        wanted = read.ranking(rerank_options, model)
        ranked = len(texts) if wanted.top_n is None else min(len(texts), wanted.top_n)
        require_fit(ranked, ranked * RANK_BYTES, self._max_answer_bytes, "texts", "ranks")
        check = self._checks.score(model, context)
        return await explained_for(pairs.rank(query, texts, wanted, model, context, check), "texts", options)

    async def reply(
        self, message: str, options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        chosen = read.reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        try:
            replies = await model.reply([message], chosen, context)
        except PredictionError as error:
            raise explained(error, "message", options) from None
        if not isfinite(sum(replies.values())):
            raise self._checks.failure(model, context)
        return replies

    async def reply_batch(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> list[dict[str, float]]:
        chosen = read.reply_filter(reply_options)
        model, context = self._admit(_REPLY, options, len(messages))
        check = self._checks.scores(model, context, AnswerSize(self._max_answer_bytes))
        return await answer_each(
            messages, lambda text: model.reply([text], chosen, context), check, "messages", options, context.client
        )

    async def reply_conversation(
        self, messages: list[str], options: RequestOptions | None, reply_options: ReplyOptions | None
    ) -> dict[str, float]:
        chosen = read.reply_filter(reply_options)
        model, context = self._admit(_REPLY, options)
        try:
            replies = await model.reply(messages, chosen, context)
        except PredictionError as error:
            raise explained(error, "messages", options) from None
        if not isfinite(sum(replies.values())):
            raise self._checks.failure(model, context)
        return replies

    # ---------------------------------------------------------------------------------------------------------- vectors

    async def embed(self, text: str, options: RequestOptions | None, embed_options: EmbedOptions | None) -> list[float]:
        model, context = self._admit(_EMBED, options)
        reading, shape = read.reading(embed_options, model), read.shape(embed_options, model)
        try:
            vector = await model.embed(text, reading, context)
        except PredictionError as error:
            raise explained(error, "text", options) from None
        if not is_finite(vector):
            raise self._checks.failure(model, context)
        return numbers(vector, shape)

    async def embed_batch(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> list[list[float]]:
        model, context = self._admit(_EMBED, options, len(texts))
        reading, shape = read.reading(embed_options, model), read.shape(embed_options, model)
        size = len(texts) * (LIST_BYTES + shape.row_numbers(model.dimensions) * DOUBLE_BYTES)
        require_fit(len(texts), size, self._max_answer_bytes, "texts", "vectors", "; embed_matrix takes half as many")
        check = self._checks.vector(model, context)
        vectors = await answer_each(
            texts, lambda text: model.embed(text, reading, context), check, "texts", options, context.client
        )
        return [numbers(vector, shape) for vector in vectors]

    async def embed_matrix(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> EmbeddingMatrix:
        model, context = self._admit(_EMBED, options, len(texts))
        reading, shape = read.reading(embed_options, model), read.shape(embed_options, model)
        require_fit(
            len(texts), len(texts) * shape.row_bytes(model.dimensions), self._max_answer_bytes, "texts", "vectors"
        )
        requests: list[Pending[bytes]] = []

        def submit(text: str) -> Pending[bytes]:
            request = model.embed(text, reading, context)
            requests.append(request)
            return request

        vectors = await answer_each(
            texts, submit, self._checks.vector(model, context), "texts", options, context.client
        )
        return matrix(vectors, tokens_of(requests), shape)

    async def embed_ids(
        self, ids: list[list[int]], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> EmbeddingMatrix:
        model, context = self._admit(_EMBED_IDS, options, len(ids))
        truncate, shape = read.cuts_ids(embed_options), read.shape(embed_options, model)
        require_fit(len(ids), len(ids) * shape.row_bytes(model.dimensions), self._max_answer_bytes, "ids", "vectors")
        requests: list[Pending[bytes]] = []

        def submit(text: list[int]) -> Pending[bytes]:
            request = model.embed_ids(text, truncate, context)
            requests.append(request)
            return request

        vectors = await answer_each(ids, submit, self._checks.vector(model, context), "ids", options, context.client)
        return matrix(vectors, tokens_of(requests), shape)

    async def embed_tokens(
        self, texts: list[str], options: RequestOptions | None, embed_options: EmbedOptions | None
    ) -> list[EmbeddingMatrix]:
        model, context = self._admit(_EMBED_TOKENS, options, len(texts))
        reading, shape = read.reading(embed_options, model), read.shape(embed_options, model)
        columns = model.dimensions
        share = shape.row_bytes(columns) / (columns * FLOAT_BYTES)
        check = self._checks.vector(model, context, AnswerSize(self._max_answer_bytes, share))
        answers = await answer_each(
            texts, lambda text: model.embed_tokens(text, reading, context), check, "texts", options, context.client
        )
        return [matrix([vectors], None, shape, columns) for vectors in answers]

    async def embed_sparse(
        self, texts: list[str], options: RequestOptions | None, sparse_options: SparseOptions | None
    ) -> list[SparseVector]:
        model, context = self._admit(_EMBED_SPARSE, options, len(texts))
        reading, form = read.reading(sparse_options, model, "sparse_options"), read.sparse_form(sparse_options)
        share = (_SPARSE_BYTES + form.tokens * _TOKEN_BYTES) / SPARSE.itemsize
        check = self._checks.sparse(model, context, AnswerSize(self._max_answer_bytes, share))
        answers = await answer_each(
            texts, lambda text: model.embed_sparse(text, reading, context), check, "texts", options, context.client
        )
        token_of = model.token_of if form.tokens else None
        return [sparse(pairs, form.max_active_dims, token_of) for pairs in answers]

    async def tokenize(
        self, texts: list[str], options: RequestOptions | None, tokenize_options: TokenizeOptions | None
    ) -> list[list[Token]]:
        special_tokens = read.special_tokens(tokenize_options)
        model, context = self._admit(_TOKENIZE, options, len(texts))
        size = AnswerSize(self._max_answer_bytes, _TOKEN_BYTES)
        answers = []
        for index, text in enumerate(texts):
            try:
                if time.monotonic_ns() > context.deadline_ns:
                    raise deadline_exceeded("the deadline passed")
                tokens = await model.tokenize(text, special_tokens)
                size.add(len(tokens))
            except PredictionError as error:
                raise explained(at(error, f"texts[{index}]"), "texts", options) from None
            answers.append([Token(*token) for token in tokens])
        return answers

    async def detokenize(self, ids: list[list[int]], options: RequestOptions | None) -> list[str]:
        model, context = self._admit(_TOKENIZE, options, len(ids))
        size = AnswerSize(self._max_answer_bytes, 1)
        texts = []
        for index, each in enumerate(ids):
            try:
                if time.monotonic_ns() > context.deadline_ns:
                    raise deadline_exceeded("the deadline passed")
                texts.append(await model.detokenize(each))
                size.add(len(texts[-1]))
            except PredictionError as error:
                raise explained(at(error, f"ids[{index}]"), "ids", options) from None
        return texts

    # ------------------------------------------------------------------------------------------------------- generation

    async def generate(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> Generation:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens, model.sampling_defaults)
        try:
            tokens = await model.prompt_tokens(prompt, sampling)
            sampling = await model.formed(sampling)
            done = await model.generate(tokens, sampling, context)
        except PredictionError as error:
            raise explained(error, "prompt", options) from None
        if sampling.prompt_token_ids is not None:
            prompt = await model.prompt_text(tokens)
        scores = done.scores
        return Generation(
            *(prompt, done.text, done.token_count, done.finish_reason, done.prompt_tokens),
            *(scores.generated, scores.prompt),
        )

    async def generate_begin(
        self, prompt: str, generation_options: GenerationOptions | None, options: RequestOptions | None
    ) -> str:
        model, context = self._admit(_GENERATE, options)
        sampling = sampling_of(generation_options, model.limits.max_output_tokens, model.sampling_defaults)

        async def text(on_text: Listener) -> Generated:
            try:
                return await model.generate(tokens, sampling, context, on_text)
            except PredictionError as error:
                raise explained(error, "prompt", options) from None

        tokens = await model.prompt_tokens(prompt, sampling)
        sampling = await model.formed(sampling)
        given = None if sampling.prompt_token_ids is None else await model.prompt_text(tokens)
        return self.streams.begin(text, context.deadline_ns, given, context.client)

    async def chat(
        self,
        messages: list[ChatMessage],
        generation_options: GenerationOptions | None,
        options: RequestOptions | None,
        chat_options: ChatOptions | None,
    ) -> ChatCompletion:
        conversation = conversation_of(messages, chat_options)
        model, context = self._admit(_CHAT, options)
        sampling = sampling_of_chat(generation_options, model.limits.max_output_tokens, model.sampling_defaults)
        try:
            prompt = await model.chat_prompt(conversation, context)
            sampling = await model.formed(sampling)
            done = await model.chat(prompt, sampling, context)
        except PredictionError as error:
            raise explained(error, "messages", options) from None
        return ChatCompletion(
            *(done.text, done.tool_calls, done.token_count, done.finish_reason, done.prompt_tokens),
            *(done.scores.generated,),
        )

    async def chat_begin(
        self,
        messages: list[ChatMessage],
        generation_options: GenerationOptions | None,
        options: RequestOptions | None,
        chat_options: ChatOptions | None,
    ) -> str:
        conversation = conversation_of(messages, chat_options)
        model, context = self._admit(_CHAT, options)
        sampling = sampling_of_chat(generation_options, model.limits.max_output_tokens, model.sampling_defaults)

        async def answer(on_part: Listener) -> ChatAnswer:
            try:
                return await model.chat(prompt, sampling, context, on_part)
            except PredictionError as error:
                raise explained(error, "messages", options) from None

        prompt = await explained_for(model.chat_prompt(conversation, context), "messages", options)
        sampling = await model.formed(sampling)
        return self.streams.begin(answer, context.deadline_ns, client=context.client)

    async def chat_prompt(
        self, messages: list[ChatMessage], options: RequestOptions | None, chat_options: ChatOptions | None
    ) -> ChatPrompt:
        conversation = conversation_of(messages, chat_options)
        model, context = self._admit(_CHAT, options)
        return ChatPrompt(*await explained_for(model.chat_text(conversation, context), "messages", options))

    async def generate_next(self, stream_id: str, wait_ms: int) -> GenerationChunk:
        return await self.streams.next(stream_id, wait_ms, CALLING.client)

    async def generate_cancel(self, stream_id: str) -> None:
        self.streams.cancel(stream_id)

    # ------------------------------------------------------------------------------------------------------- batch jobs

    async def submit_batch(self, request: BatchRequest) -> BatchJob:
        return await self._finish(self._jobs.submit(request))

    async def get_batch(self, id: str) -> BatchJob:  # noqa: A002 - the contract's name
        return await self._jobs.job(id)

    async def cancel_batch(self, id: str) -> BatchJob:  # noqa: A002
        return await self._jobs.cancel(id)

    async def resume_batch(self, id: str) -> BatchJob:  # noqa: A002
        return await self._finish(self._jobs.resume(id))

    async def list_batches(self, limit: int) -> list[BatchJob]:
        return await self._jobs.newest(limit)

    # ----------------------------------------------------------------------------------------------- models and status

    async def list_models(self) -> list[ModelInfo]:
        return self._registry.infos()

    async def load_model(self, name: str, location: str) -> ModelInfo:
        allowed = self._model_root.location_of(location)
        try:
            check_name(name)
        except ModelError as error:
            raise invalid_argument(str(error), field="name") from None
        try:
            return await self._finish(self._registry.load(name, allowed, trial=True))
        except HubUnavailableError as error:
            raise unavailable(str(error)) from None
        except ModelError as error:
            raise invalid_argument(without_folders(str(error), allowed), field="location") from None

    async def unload_model(self, name: str) -> None:
        self._model_root.require_on()
        await self._finish(self._registry.unload(name))

    async def status(self) -> ServerStatus:
        return self._server_status()

    # ---------------------------------------------------------------------------------------------------------- helpers

    def _size_of_scores(self, model: Model) -> AnswerSize | None:
        """To be counted answer by answer, where it is not known before the first."""
        return None if model.labels else AnswerSize(self._max_answer_bytes)

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in a task of its own, which goes on when the caller goes away."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waited for it may have gone: then nobody else asks, and asyncio would log it
