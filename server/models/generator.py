"""Text generators, run step by step in ext, where requests join and leave a running batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import ModelLimits

from server.errors import PredictionError, invalid_argument, too_large
from server.models.capabilities import Capability
from server.models.chat.chat import Answer, Chat, ReadyPrompt
from server.models.engine import Engine, EngineModel
from server.models.requests import Generated
from server.models.sampling import CONTRACT, SamplingDefaults

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext import _generator
    from server.calls import Pending
    from server.config import Settings
    from server.models.chat.chat import Listener as PartListener
    from server.models.chat.conversation import Conversation
    from server.models.chat.templates import ChatTemplates
    from server.models.requests import ChatAnswer, RequestContext, Sampling

    Listener = Callable[[str, int], object]

log = structlog.get_logger()

# Prompts up to so many bytes are tokenised on the event loop: 0.3 ms at most, and a thread costs 0.1 ms.
_INLINE_BYTES = 512


class GeneratorEngine(Engine):
    """An Engine whose requests may tell of their progress."""

    def __init__(self, native: _generator.TextGenerator, max_tokens: int) -> None:
        self._listeners: dict[int, Listener] = {}
        super().__init__(native, max_tokens)

    async def generate(
        self, *payload: Any, context: RequestContext, on_text: Listener | None
    ) -> tuple[str, list[int], int]:
        """(text, tokens, finish reason); with `on_text` the text is what came after the last call of it."""
        request: Pending[Any] = self.submit(*payload, on_text is not None, context=context)
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
        for request_id, text, tokens in self._native.progress():  # type: ignore[attr-defined]
            listener = self._listeners.get(request_id)
            if listener is not None:  # else it was cancelled
                self._tell(listener, text, tokens)
        self._rate.count(len(outcomes))
        self._hand_out(outcomes)

    def _tell(self, listener: Listener, text: str, tokens: int) -> None:
        try:
            listener(text, tokens)
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
    strips_first_space: bool = False
    """A text does not begin with the space that its first token has."""
    sampling: SamplingDefaults = CONTRACT
    details: dict[str, str] = field(default_factory=dict)
    chat_templates: ChatTemplates | None = None


class GeneratorModel(EngineModel):
    """A language model with its tokenizer, behind its own queue."""

    kind = "text-generator"
    capabilities: tuple[Capability, ...] = (Capability.GENERATE,)
    equal_lengths_only = False
    _engine: GeneratorEngine

    def __init__(self, native: _generator.TextGenerator, about: GeneratorAbout, settings: Settings) -> None:
        super().__init__(GeneratorEngine(native, about.context))
        self._about = about
        self._tokenizer = about.tokenizer
        added = about.tokenizer.get_added_tokens_decoder().items()
        self._special_tokens = frozenset(token for token, content in added if content.special)
        self._max_bytes = settings.max_message_bytes
        # None where it is the model's positions that end it, which no setting could change
        self._tokens_setting = "max_tokens" if settings.max_tokens < about.context else None
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
            self.capabilities = (Capability.GENERATE, Capability.CHAT)
        self.details = about.details | (self._chat.details if self._chat is not None else {})
        self.details |= {
            "context": str(about.context),
            "vocabulary": str(about.vocabulary),
            "device": settings.device,
            "batch_invariant": str(native.batch_invariant).lower(),
        }

    async def prompt_tokens(self, prompt: str, max_tokens: int) -> list[int]:
        """See Model.prompt_tokens."""
        tokens = await self._tokens(prompt)
        if len(tokens) + max_tokens > self._about.context:
            raise invalid_argument(
                f"{len(tokens)} tokens and {max_tokens} new ones (max_tokens) are more than the"
                f" model's {self._about.context} positions",
                field="prompt",
            )
        return tokens

    async def generate(
        self, tokens: list[int], sampling: Sampling, context: RequestContext, on_text: Listener | None = None
    ) -> Generated:
        """See Model.generate."""
        begins = _Beginning(self._strips(tokens), on_text)
        text, generated, finish_reason = await self._engine.generate(
            tokens,
            sampling.max_tokens,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.repetition_penalty,
            sampling.stop,
            sampling.seed,
            context=context,
            on_text=None if on_text is None else begins.hand_on,
        )
        return Generated(begins.of(text), len(generated), finish_reason, len(tokens))

    async def chat_prompt(self, conversation: Conversation, context: RequestContext) -> ReadyPrompt:
        """See Model.chat_prompt."""
        text, tokens = await self.chat_text(conversation, context)
        assert self._chat is not None
        return ReadyPrompt(text, tokens, self._chat.form_of(conversation))

    async def chat(
        self, prompt: ReadyPrompt, sampling: Sampling, context: RequestContext, on_part: PartListener | None = None
    ) -> ChatAnswer:
        """See Model.chat."""
        answer = Answer(prompt.form, on_part)
        room = self._about.context - len(prompt.tokens)
        sampling = sampling._replace(max_tokens=min(sampling.max_tokens, room))
        on_text = None if on_part is None else answer.hand_on
        return answer.end(await self.generate(prompt.tokens, sampling, context, on_text))

    async def chat_text(self, conversation: Conversation, context: RequestContext) -> tuple[str, list[int]]:
        """See Model.chat_text."""
        assert self._chat is not None
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

        size = len(prompt.encode())
        if size > self._max_bytes:
            raise too_large(
                f"{size} bytes, over the limit of {self._max_bytes}", field=field, setting="max_message_bytes"
            )
        tokens = encode(prompt) if size <= _INLINE_BYTES else await self._in_thread(encode, prompt)
        if not tokens and self._about.first_token is not None:
            tokens = [self._about.first_token]
        if not tokens:
            raise invalid_argument("is empty, and the model has no token to begin a text with", field=field)
        if len(tokens) > self.limits.max_tokens:
            of_model = "" if self._tokens_setting else " (max_tokens of the model)"
            raise too_large(
                f"{len(tokens)} tokens, over the limit of {self.limits.max_tokens}{of_model}",
                field=field,
                setting=self._tokens_setting,
            )
        if max(tokens) >= self._about.vocabulary:
            raise self._unknown_token(max(tokens), field)
        return tokens

    def _unknown_token(self, token: int, field: str) -> PredictionError:
        name = self._tokenizer.id_to_token(token)
        return invalid_argument(
            f"the token {name!r} (id {token}) is over the {self._about.vocabulary} tokens that the model knows",
            field=field,
        )


class _Beginning:
    """The parts of a text as they are, or without the space that the first one begins with."""

    def __init__(self, strips: bool, on_text: Listener | None) -> None:
        self._strips = strips
        self._on_text = on_text

    def of(self, text: str) -> str:
        """The next part."""
        if self._strips and text:
            self._strips = False
            return text.removeprefix(" ")
        return text

    def hand_on(self, text: str, tokens: int) -> object:
        """To the listener."""
        assert self._on_text is not None
        return self._on_text(self.of(text), tokens)
