"""Text generators, run step by step in ext, where requests join and leave a running batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import FinishReason, ModelLimits

from process.options import CLAMP_MAX_TOKENS, FORMS, LOGIT_BIAS, PROMPT_LOGPROBS, PROMPT_TOKEN_IDS, STOP_TOKEN_IDS
from server.errors import PredictionError, invalid_argument, too_large
from server.models.capabilities import Capability
from server.models.chat.chat import Answer, Chat, ReadyPrompt
from server.models.engine import Engine, EngineModel
from server.models.forms import Forms
from server.models.requests import Generated, Token
from server.models.sampling import CONTRACT, FIELD, SamplingDefaults
from server.models.scores import TokenNames
from server.models.tokenizer import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ext import _generator
    from process.options import Option
    from server.calls import Pending
    from server.config import Settings
    from server.models.chat.chat import Listener as PartListener
    from server.models.chat.conversation import Conversation
    from server.models.chat.templates import ChatTemplates
    from server.models.requests import ChatAnswer, RequestContext, Sampling, Scores

    Listener = Callable[[str, int, Scores], object]
    NativeScores = tuple[list[_generator.Score], list[_generator.Score]] | None
    NativeListener = Callable[[str, int, NativeScores], object]

log = structlog.get_logger()

# Prompts up to so many bytes are tokenised on the event loop: 0.3 ms at most, and a thread costs 0.1 ms.
_INLINE_BYTES = 512
_PAGE_TOKENS = 16  # as ext/kernels/paged_attention.h has it


class GeneratorEngine(Engine):
    """An Engine whose requests may tell of their progress."""

    def __init__(self, native: _generator.TextGenerator, max_tokens: int) -> None:
        self._listeners: dict[int, NativeListener] = {}
        super().__init__(native, max_tokens)

    async def generate(
        self, tokens: list[int], options: dict[str, Any], context: RequestContext, on_text: NativeListener | None
    ) -> tuple[str, list[int], int, NativeScores]:
        """(text, tokens, finish reason, scores); with `on_text` text and scores are what came after its last call."""
        if on_text is not None:
            options["streamed"] = True
        request: Pending[Any] = self.submit(tokens, options, context=context)
        if on_text is None:
            return await request  # type: ignore[no-any-return]
        request_id: int = request.id  # type: ignore[attr-defined]
        self._listeners[request_id] = on_text
        try:
            return await request  # type: ignore[no-any-return]
        finally:
            del self._listeners[request_id]

    def _deliver(self) -> None:
        outcomes = self._native.results()  # first: what came before them is in progress() then
        for request_id, *grown in self._native.progress():  # type: ignore[attr-defined]
            listener = self._listeners.get(request_id)
            if listener is not None:  # else it was cancelled
                self._tell(listener, *grown)
        self._rate.count(len(outcomes))
        self._hand_out(outcomes)

    def _tell(self, listener: NativeListener, text: str, tokens: int, scores: NativeScores) -> None:
        try:
            listener(text, tokens, scores)
        except Exception:  # one caller's trouble is not the others'
            log.exception("a part of a text could not be handed over")


@dataclass(frozen=True, slots=True)
class GeneratorAbout:
    """What a folder says of its model."""

    tokenizer: Any
    """tokenizers.Tokenizer, which adds the special tokens that stand around a prompt."""
    first_token: int | None
    """What a prompt without tokens begins with."""
    context: int
    """Positions of a text, its prompt included."""
    vocabulary: int
    end_tokens: Sequence[int] = ()
    strips_first_space: bool = False
    """A text does not begin with the space that its first token has."""
    sampling: SamplingDefaults = CONTRACT
    details: dict[str, str] = field(default_factory=dict)
    chat_templates: ChatTemplates | None = None


class GeneratorModel(EngineModel):
    """A language model with its tokenizer, behind its own queue."""

    kind = "text-generator"
    capabilities: tuple[Capability, ...] = (Capability.GENERATE, Capability.TOKENIZE)
    equal_lengths_only = False
    _engine: GeneratorEngine

    def __init__(self, native: _generator.TextGenerator, about: GeneratorAbout, settings: Settings) -> None:
        super().__init__(GeneratorEngine(native, about.context))
        self._about = about
        self._tokenizer = about.tokenizer
        self._names = TokenNames(native.bytes_of, about.tokenizer)
        added = about.tokenizer.get_added_tokens_decoder().items()
        self._special_tokens = frozenset(token for token, content in added if content.special)
        self._forms = Forms(native.bytes_of, about.vocabulary, (*self._special_tokens, *about.end_tokens))
        self._max_bytes = settings.max_message_bytes
        self._positions, self._page_bytes = native.positions, native.page_bytes
        self._cache_limits = native.context < native.positions
        # None where it is the model's positions that end it, which no setting could change
        ends = "cache_bytes" if self._cache_limits else None
        self._tokens_setting = "max_tokens" if settings.max_tokens < about.context else ends
        self.limits = ModelLimits(
            max_tokens=min(settings.max_tokens, about.context - 1),
            queue_items=settings.queue_items,
            queue_tokens=settings.queue_tokens,
            batch_items=settings.slots,
            batch_tokens=0,
            max_output_tokens=min(settings.max_output_tokens, about.context - 1),
        )
        self.sampling_defaults = about.sampling
        self._chat = Chat(about.chat_templates, settings) if about.chat_templates is not None else None
        if self._chat is not None:
            self.capabilities = (*self.capabilities, Capability.CHAT)
        self.details = about.details | (self._chat.details if self._chat is not None else {})
        self.details |= {
            "context": str(about.context),
            "vocabulary": str(about.vocabulary),
            "device": settings.device,
            "batch_invariant": str(native.batch_invariant).lower(),
        }

    async def prompt_tokens(self, prompt: str, sampling: Sampling) -> list[int]:
        """See Model.prompt_tokens."""
        if sampling.prompt_token_ids is None:
            tokens = await self._tokens(prompt)
            field = "prompt"
        else:
            field = f"{FIELD}.{PROMPT_TOKEN_IDS.name}"
            tokens = self._given_tokens(prompt, sampling.prompt_token_ids, field)
        needed = min(1, sampling.max_tokens) if sampling.clamp_max_tokens else sampling.max_tokens
        if len(tokens) + needed > self._about.context:
            raise self._no_room(len(tokens), needed, field)
        return tokens

    def _no_room(self, count: int, needed: int, field: str) -> PredictionError:
        asked = f"{count} tokens and {needed} new ones (max_tokens)"
        if self._cache_limits and count + needed <= self._positions:
            return too_large(
                f"{asked} need {self._cache_bytes(count + needed)} bytes of the cache of keys and values, which has"
                f" room for {self._about.context} tokens",
                field=field,
                setting="cache_bytes",
            )
        return too_large(f"{asked} are more than the model's {self._positions} positions", field=field)

    def _cache_bytes(self, tokens: int) -> int:
        """Of keys and values of so many tokens."""
        return -(-tokens // _PAGE_TOKENS) * self._page_bytes

    async def formed(self, sampling: Sampling) -> Sampling:
        """See Model.formed."""
        for option in FORMS:
            if getattr(sampling, option.name) is not None:
                return sampling._replace(form=await self._in_thread(self._forms.form, sampling))
        return sampling

    async def prompt_text(self, tokens: list[int]) -> str:
        """See Model.prompt_text."""
        if len(tokens) <= _INLINE_BYTES:
            return self._decoded(tokens)
        return await self._in_thread(self._decoded, tokens)

    async def generate(
        self, tokens: list[int], sampling: Sampling, context: RequestContext, on_text: Listener | None = None
    ) -> Generated:
        """See Model.generate."""
        self._require_known(sampling.stop_token_ids, STOP_TOKEN_IDS)
        self._require_known(sampling.logit_bias, LOGIT_BIAS)
        begins = _Beginning(self._strips(tokens))
        if sampling.max_tokens == 0 and sampling.prompt_logprobs is None:
            return Generated("", 0, FinishReason.LENGTH, len(tokens), self._names.scores(None, tokens, sampling))

        def hand_on(text: str, count: int, scores: NativeScores) -> object:
            assert on_text is not None
            return on_text(begins.of(text), count, self._names.scores(scores, tokens, sampling))

        text, generated, finish_reason, scores = await self._engine.generate(
            tokens, self._engine_options(tokens, sampling), context, None if on_text is None else hand_on
        )
        done = self._names.scores(scores, tokens, sampling)
        return Generated(begins.of(text), len(generated), finish_reason, len(tokens), done)

    def _engine_options(self, tokens: list[int], sampling: Sampling) -> dict[str, Any]:
        """As the engine takes them."""
        options = sampling.changes()
        for option in (PROMPT_TOKEN_IDS, CLAMP_MAX_TOKENS, *FORMS):
            options.pop(option.name, None)
        options["max_tokens"] = min(sampling.max_tokens, self._about.context - len(tokens))
        return options

    def _require_known(self, tokens: Iterable[int], option: Option) -> None:
        """Raise INVALID_ARGUMENT for a token that the model does not have."""
        for place, token in enumerate(tokens):
            if not 0 <= token < self._about.vocabulary:
                raise invalid_argument(
                    f"there is no token {token}: the model has {self._about.vocabulary}",
                    field=f"{FIELD}.{option.name}[{token if option is LOGIT_BIAS else place}]",
                )

    def _given_tokens(self, prompt: str, ids: tuple[int, ...], field: str) -> list[int]:
        if prompt:
            raise invalid_argument("give this or a prompt", field=field)
        if not ids:
            raise invalid_argument("is empty", field=field)
        self._require_room(len(ids), field)
        self._require_known(ids, PROMPT_TOKEN_IDS)
        return list(ids)

    def _decoded(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=False)  # type: ignore[no-any-return]

    async def tokenize(self, text: str, special_tokens: bool) -> list[Token]:
        """See Model.tokenize."""
        self._require_few_bytes(text, None)

        def encode(given: str) -> list[Token]:
            encoding = self._tokenizer.encode(given, add_special_tokens=special_tokens)
            parts = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.sequence_ids, strict=True)
            return [Token(id_, token, *(span if of is not None else (None, None))) for id_, token, span, of in parts]

        return await self._in_thread(encode, text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """See Model.detokenize."""
        return await self._in_thread(lambda given: decoded(self._tokenizer, given), ids)

    async def chat_prompt(self, conversation: Conversation, context: RequestContext) -> ReadyPrompt:
        """See Model.chat_prompt."""
        text, tokens = await self.chat_text(conversation, context)
        assert self._chat is not None
        return ReadyPrompt(text, tokens, self._chat.form_of(conversation))

    async def chat(
        self, prompt: ReadyPrompt, sampling: Sampling, context: RequestContext, on_part: PartListener | None = None
    ) -> ChatAnswer:
        """See Model.chat."""
        for option in (PROMPT_TOKEN_IDS, PROMPT_LOGPROBS):
            if getattr(sampling, option.name) is not None:
                raise invalid_argument("is of generate alone", field=f"{FIELD}.{option.name}")
        answer = Answer(prompt.form, on_part)
        on_text = None if on_part is None else answer.hand_on
        return answer.end(await self.generate(prompt.tokens, sampling, context, on_text))

    async def chat_text(self, conversation: Conversation, context: RequestContext) -> tuple[str, list[int]]:
        """See Model.chat_text."""
        assert self._chat is not None
        with self._prepares():
            text = await self._chat.text_of(conversation, context.deadline_ns)
        return text, await self._tokens(text, "messages", special_tokens=False)

    async def close(self) -> None:
        """Answer what was accepted, then free the model."""
        await super().close()
        if self._chat is not None:
            await self._chat.close()

    def _strips(self, tokens: list[int]) -> bool:
        """Whether what is generated begins a text, whose first space the tokenizer's decoder leaves out."""
        return self._about.strips_first_space and self._special_tokens.issuperset(tokens)

    async def _tokens(self, prompt: str, field: str = "prompt", special_tokens: bool = True) -> list[int]:
        """`special_tokens`: with those that the tokenizer puts around a text, which a chat template writes itself."""

        def encode(text: str) -> list[int]:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special_tokens).ids
            return ids

        size = self._require_few_bytes(prompt, field)
        tokens = encode(prompt) if size <= _INLINE_BYTES else await self._in_thread(encode, prompt)
        if not tokens and self._about.first_token is not None:
            tokens = [self._about.first_token]
        if not tokens:
            raise invalid_argument("is empty, and the model has no token to begin a text with", field=field)
        self._require_room(len(tokens), field)
        if max(tokens) >= self._about.vocabulary:
            raise self._unknown_token(max(tokens), field)
        return tokens

    def _require_room(self, count: int, field: str) -> None:
        if count > self.limits.max_tokens:
            why = {
                None: " (max_tokens of the model)",
                "cache_bytes": f", for which the cache of keys and values has room; {count + 1} need"
                f" {self._cache_bytes(count + 1)} bytes",
            }
            raise too_large(
                f"{count} tokens, over the limit of {self.limits.max_tokens}{why.get(self._tokens_setting, '')}",
                field=field,
                setting=self._tokens_setting,
            )

    def _require_few_bytes(self, text: str, field: str | None) -> int:
        """How many it has. Raises TOO_LARGE."""
        size = len(text.encode())
        if size > self._max_bytes:
            raise too_large(
                f"{size} bytes, over the limit of {self._max_bytes}", field=field, setting="max_message_bytes"
            )
        return size

    def _unknown_token(self, token: int, field: str) -> PredictionError:
        name = self._tokenizer.id_to_token(token)
        return invalid_argument(
            f"the token {name!r} (id {token}) is over the {self._about.vocabulary} tokens that the model knows",
            field=field,
        )


class _Beginning:
    """The parts of a text as they are, or without the space that the first one begins with."""

    def __init__(self, strips: bool) -> None:
        self._strips = strips

    def of(self, text: str) -> str:
        """The next part."""
        if self._strips and text:
            self._strips = False
            return text.removeprefix(" ")
        return text
