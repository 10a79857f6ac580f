"""Text generators: GPT-2 run step by step in ext, where requests join and leave a running batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import ModelLimits

from ext import _generator
from server.errors import ModelError, invalid_argument, too_large
from server.models import gpt2_folder
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.requests import Generated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from server.calls import Pending
    from server.config import Settings
    from server.models.gpt2_folder import Gpt2Folder
    from server.models.requests import RequestContext, Sampling

    Listener = Callable[[str, int], object]

log = structlog.get_logger()

# Prompts up to so many bytes are tokenised on the event loop: 0.3 ms at most, and a thread costs 0.1 ms.
_INLINE_BYTES = 512


class GeneratorEngine(Engine):
    """An Engine whose requests may tell of their progress."""

    def __init__(self, native: _generator.GeneratorEngine, max_tokens: int) -> None:
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


class GeneratorModel(EngineModel):
    """A GPT-2 with its tokenizer, behind its own queue."""

    kind = "gpt2-generator"
    capabilities = (Capability.GENERATE,)
    equal_lengths_only = False
    _engine: GeneratorEngine

    def __init__(self, native: _generator.GeneratorEngine, folder: Gpt2Folder, settings: Settings) -> None:
        context = folder.sizes["context"]
        super().__init__(GeneratorEngine(native, context))
        self._tokenizer = folder.tokenizer
        self._first_token = folder.first_token
        self._max_bytes = settings.max_message_bytes
        self._context = context
        # None where it is the model's positions that end it, which no setting could change
        self._tokens_setting = "max_tokens" if settings.max_tokens < context else None
        self.limits = ModelLimits(
            max_tokens=min(settings.max_tokens, context - 1),
            queue_items=settings.queue_items,
            queue_tokens=settings.queue_tokens,
            batch_items=settings.slots,
            batch_tokens=0,
            max_output_tokens=min(settings.max_output_tokens, context - 1),
        )
        self.details = {
            "architecture": "gpt2",
            "precision": folder.precision,
            "context": str(context),
            "vocabulary": str(folder.sizes["vocabulary"]),
            "device": settings.device,
            "batch_invariant": str(native.batch_invariant).lower(),
        }

    async def prompt_tokens(self, prompt: str, max_tokens: int) -> list[int]:
        """See Model.prompt_tokens."""
        tokens = await self._tokens(prompt)
        if len(tokens) + max_tokens > self._context:
            raise invalid_argument(
                f"{len(tokens)} tokens and {max_tokens} new ones (max_tokens) are more than the"
                f" model's {self._context} positions",
                field="prompt",
            )
        return tokens

    async def generate(
        self, tokens: list[int], sampling: Sampling, context: RequestContext, on_text: Listener | None = None
    ) -> Generated:
        """See Model.generate."""
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
            on_text=on_text,
        )
        return Generated(text, len(generated), finish_reason, len(tokens))

    async def _tokens(self, prompt: str) -> list[int]:
        size = len(prompt.encode())
        if size > self._max_bytes:
            raise too_large(
                f"{size} bytes, over the limit of {self._max_bytes}", field="prompt", setting="max_message_bytes"
            )
        if size <= _INLINE_BYTES:
            tokens: list[int] = self._tokenizer.encode(prompt).ids
        else:
            tokens = (await self._in_thread(self._tokenizer.encode, prompt)).ids
        if not tokens and self._first_token is not None:
            tokens = [self._first_token]
        if not tokens:
            raise invalid_argument("is empty, and the model has no token to begin a text with", field="prompt")
        if len(tokens) > self.limits.max_tokens:
            of_model = "" if self._tokens_setting else " (max_tokens of the model)"
            raise too_large(
                f"{len(tokens)} tokens, over the limit of {self.limits.max_tokens}{of_model}",
                field="prompt",
                setting=self._tokens_setting,
            )
        return tokens


async def load(path: Path, settings: Settings) -> GeneratorModel:
    """Load a folder, off the event loop. Raises ModelError."""
    folder, native = await asyncio.to_thread(_open, path, settings)
    return GeneratorModel(native, folder, settings)


def _open(path: Path, settings: Settings) -> tuple[Gpt2Folder, _generator.GeneratorEngine]:
    folder = gpt2_folder.read(path)
    try:
        native = _generator.GeneratorEngine(
            folder.sizes,
            folder.weights,
            folder.token_bytes,
            folder.end_tokens,
            precision=folder.precision,
            max_tokens=folder.sizes["context"],
            **settings.of_engine("generator"),
        )
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(str(error)) from None
    folder.weights.clear()  # the engine has its own
    _generator.give_back_memory()
    return folder, native
