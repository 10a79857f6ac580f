"""What every kind of model is to the rest of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from predictor.ttypes import ModelLimits

    from server.calls import Pending
    from server.models.capabilities import Capability
    from server.models.requests import Generated, ReplyFilter, RequestContext, Sampling


class Model(Protocol):
    """A loaded and warm model. Of the methods below it has those that its capabilities need."""

    kind: str
    capabilities: tuple[Capability, ...]
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
