"""What every kind of model is to the rest of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from predictor.ttypes import ModelLimits

    from server.calls import Pending


class RequestContext(NamedTuple):
    """What a request carries through the queue besides its text."""

    lane: int
    """A value of the contract's Lane."""
    deadline_ns: int
    """When its caller stops waiting, on time.monotonic_ns()'s clock."""
    request_id: str | None
    """The caller's own id for the log, if it gave one."""


class ReplyFilter(NamedTuple):
    """Which of a message's replies are wanted."""

    max_replies: int | None = None
    """So many, the best; None: all."""
    threshold: float | None = None
    """Only those with no lower score; None: all."""


class Sampling(NamedTuple):
    """How a text is generated; each value in the range that the contract's GenerationOptions gives."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: tuple[str, ...]
    seed: int
    """0 to 2**64 - 1."""


class Generated(NamedTuple):
    """A generated text, or the end of one that was streamed."""

    text: str
    token_count: int
    """Of the whole text."""
    finish_reason: int
    """A value of the contract's FinishReason."""
    prompt_tokens: int


class ModelError(Exception):
    """A model cannot be loaded; the message says why, for people."""


class Model(Protocol):
    """A loaded and warm model. It serves those of the methods below that `methods` names."""

    kind: str
    methods: tuple[str, ...]
    limits: ModelLimits
    equal_lengths_only: bool
    details: dict[str, str]

    def predict(self, doc: str, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score."""

    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Reply -> score for all messages together: the scores of a reply add up."""

    def embed(self, text: str, truncate: bool, context: RequestContext) -> Pending[bytes]:
        """The text's vector: single-precision numbers, little endian.

        A text over the model's own limit is cut to it, or, without `truncate`, refused with TOO_LARGE. A model that has
        no such limit refuses texts over the server's in any case.
        """

    async def prompt_tokens(self, prompt: str, max_tokens: int) -> list[int]:
        """The prompt's tokens, when there is room for so many new ones after them. Raises PredictionError."""

    async def generate(
        self,
        tokens: list[int],
        sampling: Sampling,
        context: RequestContext,
        on_text: Callable[[str, int], object] | None = None,
    ) -> Generated:
        """The text that follows what prompt_tokens gave.

        With `on_text` it is streamed: `on_text(text, tokens so far)` is called as it grows, and the rest is returned.
        """

    def stats(self) -> dict[str, int]:
        """The queue's counters, as ext's engines give them."""

    def drain(self) -> None:
        """Refuse new requests; those that wait are still answered."""

    async def close(self) -> None:
        """Wait until all is answered that was accepted, then free the model."""
