"""What all models of a folder have in common: texts become tokens, quickly or in a thread, and go to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from server.calls import Pending, drive
from server.errors import PredictionError, invalid_argument, too_large
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.tokenizer import cut_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from predictor.ttypes import ModelLimits

    from ext import _encoder
    from server.models.folder.model_folder import ModelFolder
    from server.models.folder.tokens import Encoded, FolderTokenizer, Tokens
    from server.models.requests import RequestContext, Token

T = TypeVar("T")


class TextModel(EngineModel):
    """A tokenizer, and an engine behind its own queue and workers."""

    capabilities: tuple[Capability, ...] = (Capability.TOKENIZE,)

    def __init__(
        self,
        native: _encoder.EncoderEngine,
        folder: ModelFolder,
        tokenizer: FolderTokenizer,
        limits: ModelLimits,
        max_bytes: int,
    ) -> None:
        super().__init__(Engine(native, limits.max_tokens))
        self._tokenizer = tokenizer
        self._vocabulary = native.vocabulary
        self.equal_lengths_only = native.equal_lengths_only
        self._max_bytes = max_bytes
        self._truncated = 0
        self._last: tuple[object, Encoded | None] = (None, None)
        self.limits = limits
        self.details = dict(folder.details)

    def stats(self) -> dict[str, int]:
        """The queue's counters, and the texts that were cut."""
        return super().stats() | {"truncated": self._truncated}

    async def tokenize(self, text: str, special_tokens: bool) -> list[Token]:
        """See Model.tokenize."""
        if not self._has_few_bytes(text):
            raise self._too_many_bytes()
        return await self._in_thread(lambda given: self._tokenizer.described(given, special_tokens), text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """See Model.detokenize."""
        return await self._in_thread(self._tokenizer.text_of, ids)

    def token_of(self, token_id: int) -> str:
        """See Model.token_of."""
        return self._tokenizer.token(token_id)

    # ------------------------------------------------------------------------------------------------------ for models

    def _read(
        self, texts: Sequence[str], submit: Callable[..., Pending[T]], truncate: bool = True, left: bool = False
    ) -> Pending[T]:
        """submit(*encoded), now, or once long texts are tokenised in a thread.

        `left`: the beginnings of texts that are too long are cut. Raises TOO_LARGE for one over the server's limit of
        bytes where none is cut.
        """
        if not all(map(self._has_few_bytes, texts)):
            if not truncate:
                raise self._too_many_bytes()
            texts = [cut_to_bytes(text, self._max_bytes, left) for text in texts]
        encoded: list[Encoded] = []
        for text in texts:
            quick = self._last[1] if text is self._last[0] else self._tokenizer.quickly(text, left)
            if quick is None:
                return pending_of(lambda request: self._read_later(request, texts, submit))
            encoded.append(quick)
        if len(texts) > 1:
            if all(part.is_part for part in encoded):  # which of them is longer decides where they are cut
                return pending_of(lambda request: self._read_later(request, texts, submit))
            self._last = texts[0], encoded[0]  # a query, or a text with many hypotheses, comes again with the next pair
        return submit(*encoded)

    async def _read_later(self, outer: Pending[T], texts: Sequence[str], submit: Callable[..., Pending[T]]) -> T:
        encoded = [await self._in_thread(self._tokenizer.encode, text) for text in texts]
        request = submit(*encoded)
        answer = await request
        outer.tokens = request.tokens
        return answer

    def _submit(
        self,
        tokens: Tokens,
        truncate: bool,
        context: RequestContext,
        convert: Callable[[bytes], T] | None = None,
        prompt_tokens: int = 0,
    ) -> Pending[Any]:
        if tokens.is_cut:
            if not truncate:
                raise too_large(
                    f"the text has more than {self.limits.max_tokens} tokens, the model's limit, and truncate is false"
                )
            self._truncated += 1
        try:
            request = self._engine.submit(
                tokens.ids, tokens.second_begins, prompt_tokens, tokens.seen, context=context, convert=convert
            )
        except ValueError:
            raise self._unknown_token(tokens.ids) from None
        request.tokens = len(tokens.ids)
        return request

    def _unknown_token(self, ids: Sequence[int]) -> PredictionError:
        strange = [id_ for id_ in ids if not 0 <= id_ < self._vocabulary]
        if not strange:
            return invalid_argument("the text has no tokens")
        name = self._tokenizer.token(strange[0])
        what = f"the token {name!r} (id {strange[0]})" if name else f"the id {strange[0]}"
        return invalid_argument(f"{what} is over the {self._vocabulary} tokens that the model knows")

    def _has_few_bytes(self, text: str) -> bool:
        return len(text) * 4 <= self._max_bytes or len(text.encode()) <= self._max_bytes

    def _too_many_bytes(self) -> PredictionError:
        what = f"the text has more than {self._max_bytes} bytes; send it in parts"
        return too_large(what, setting="max_message_bytes")


def pending_of(work: Callable[[Pending[T]], Coroutine[Any, Any, T]]) -> Pending[T]:
    """The result of a coroutine that runs at once, up to its first wait; it is given what is returned."""
    request: Pending[T] = Pending()

    def hand_over(value: T | None, error: BaseException | None) -> None:
        request.on_abandon = None  # else call and request refer to each other
        if error is not None:
            request.fail(error)
        else:
            request.resolve(value)  # type: ignore[arg-type]

    def abandon() -> None:
        request.on_abandon = None
        call.cancel()

    call = drive(work(request), hand_over)
    if not request.done():
        request.on_abandon = abandon
    return request
