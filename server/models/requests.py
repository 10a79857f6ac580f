"""What a request to a model carries besides its text, and what a generated text is."""

from __future__ import annotations

from typing import NamedTuple


class RequestContext(NamedTuple):
    """What a request carries through the queue besides its text."""

    lane: int
    """A value of the contract's Lane."""
    deadline_ns: int
    """When its caller stops waiting, on time.monotonic_ns()'s clock."""
    request_id: str | None
    """The caller's own id for the log, if it gave one."""


class ReplyFilter(NamedTuple):
    """Which of a message's replies are given."""

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
