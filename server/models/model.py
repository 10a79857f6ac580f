"""What every kind of model is to the rest of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from predictor.ttypes import ModelLimits, ToolCall

    from server.calls import Pending
    from server.models.capabilities import Capability
    from server.models.chat.conversation import Conversation
    from server.models.requests import (
        ChatAnswer,
        Classification,
        Entailment,
        Entity,
        Generated,
        Reading,
        ReplyFilter,
        RequestContext,
        Sampling,
        Scores,
        Tagging,
        Token,
    )
    from server.models.sampling import SamplingDefaults


class Model(Protocol):
    """A loaded and warm model. Of what stands below `details` it has what its capabilities need.

    What returns a Pending is called on the event loop and must not keep it: it raises PredictionError for a request
    that is refused at once. The server checks that options are in their range and that all numbers are finite, cuts
    vectors to `dimensions`, normalises and encodes them, orders labels and texts, and asks for one text at a time.
    """

    kind: str
    capabilities: tuple[Capability, ...]
    limits: ModelLimits
    equal_lengths_only: bool
    details: dict[str, str]

    takes: frozenset[str]
    """Options that the model honours if they are given: of truncation_side, split, prompt_name, prompt, raw_scores,
    multi_label and candidate_labels (process/options.py). It is never given others; their callers are refused."""

    # CLASSIFY
    labels: Sequence[str]
    """Those that predict gives for every text, so that an answer's size is known; none where they differ."""

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score, in any order."""

    def entail(self, text: str, hypothesis: str, truncate: bool, context: RequestContext) -> Pending[Entailment]:
        """How far the text entails the hypothesis. Only of a model that takes candidate_labels."""

    # REPLY
    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Reply -> score for all messages together: the scores of a reply add up."""

    # EMBED, EMBED_IDS, EMBED_TOKENS
    dimensions: int
    """Numbers in a vector."""
    normalized: bool
    """Whether the model's vectors have length 1."""

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The text's vector: `dimensions` single-precision numbers, little endian."""

    def embed_ids(self, ids: Sequence[int], truncate: bool, context: RequestContext) -> Pending[bytes]:
        """The vector of a text that is given as the ids that the model reads, special tokens included.

        Raises INVALID_ARGUMENT for an id that the vocabulary lacks, or for none; TOO_LARGE as embed does.
        """

    def embed_tokens(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """A vector for each token that counts: any number of times `dimensions` numbers, as embed's."""

    # EMBED_SPARSE
    def embed_sparse(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The numbers that are not 0, in any order: for each an int32, the token's id, and a float32, little endian."""

    def token_of(self, token_id: int) -> str:
        """A token of the vocabulary; also of TOKENIZE."""

    # RERANK
    def score_pair(
        self, query: str, text: str, truncate: bool, raw_scores: bool, context: RequestContext
    ) -> Pending[float]:
        """How well the text answers the query; with `raw_scores` without the function that the folder names."""

    # CLASSIFY_TOKENS
    def classify_tokens(self, text: str, tagging: Tagging, context: RequestContext) -> Pending[list[Entity]]:
        """Parts of the text that have a label, in their order."""

    # TOKENIZE
    async def tokenize(self, text: str, special_tokens: bool) -> list[Token]:
        """The text's tokens, whole; those that the model wants around a text among them, if `special_tokens`."""

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text that tokens are, special ones too. Raises INVALID_ARGUMENT for an id that the vocabulary lacks."""

    # GENERATE
    sampling_defaults: SamplingDefaults
    """What options mean that a request leaves out."""

    async def prompt_tokens(self, prompt: str, sampling: Sampling) -> list[int]:
        """The prompt's tokens, or those that `sampling` has instead, when there is room for the new ones.

        Raises PredictionError.
        """

    async def formed(self, sampling: Sampling) -> Sampling:
        """The same with the form that the text is to have, ready to be used for one text. Raises INVALID_ARGUMENT."""

    async def prompt_text(self, tokens: list[int]) -> str:
        """The text that tokens are, special ones by their names."""

    async def generate(
        self,
        tokens: list[int],
        sampling: Sampling,
        context: RequestContext,
        on_text: Callable[[str, int, Scores], object] | None = None,
    ) -> Generated:
        """The text that follows what prompt_tokens gave.

        With `on_text` it is streamed: `on_text(text, tokens so far, scores)` is called as it grows, and the rest is
        returned.
        """

    # CHAT; sampling_defaults as for GENERATE
    async def chat_prompt(self, conversation: Conversation, context: RequestContext) -> Any:
        """What chat takes for it, once it is known that the model takes the conversation. Raises PredictionError."""

    async def chat(
        self,
        prompt: Any,
        sampling: Sampling,
        context: RequestContext,
        on_part: Callable[[str, int, list[ToolCall]], object] | None = None,
    ) -> ChatAnswer:
        """What the model says next; `prompt` is what chat_prompt gave. sampling.max_tokens is cut to the room there is.

        With `on_part` it is streamed: `on_part(text, tokens so far, whole calls of tools)` is called as it grows, and
        the rest is returned.
        """

    async def chat_text(self, conversation: Conversation, context: RequestContext) -> tuple[str, list[int]]:
        """The conversation as the model reads it, and its tokens. Raises PredictionError."""

    # all
    def stats(self) -> dict[str, int]:
        """The queue's counters, as ext's engines give them."""

    def drain(self) -> None:
        """Refuse new requests; those that wait are still answered."""

    async def close(self) -> None:
        """Wait until all is answered that was accepted, then free the model."""
