"""What a request to a model carries besides its text, and what models answer that is more than numbers."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from predictor.ttypes import TokenLogprob, ToolCall

    from server.clients import Client

_NOTHING: Mapping[int, float] = MappingProxyType({})


class RequestContext(NamedTuple):
    """What a request carries through the queue besides its text."""

    lane: int
    """A value of the contract's Lane."""
    deadline_ns: int
    """When its caller stops waiting, on time.monotonic_ns()'s clock."""
    request_id: str | None
    """The caller's own id for the log, if it gave one."""
    client: Client | None = None
    """Whose request it is, where it shares with others; None: of nobody, such as a job."""


class Reading(NamedTuple):
    """How a text becomes the tokens that a model reads. Beside `truncate` a model is given only what it `takes`."""

    truncate: bool = True
    """Whether a text over the model's own limits, in tokens or bytes, is cut to them; False: refused with TOO_LARGE.
    Without a limit of its own a model refuses texts over the server's in any case."""
    truncation_side: str | None = None
    """right or left: the end that is cut; None: as the model's tokenizer says."""
    split: bool = False
    """Nothing is cut: windows of the model's limit, the mean of their vectors weighted by their tokens."""
    prompt_name: str | None = None
    """One of the model's prompts, to be put before the text; None: its default prompt, if it has one."""
    prompt: str | None = None
    """The prompt itself, empty for none; at most one of the two is given."""


AS_IT_IS = Reading()
"""Without options."""


class Classification(NamedTuple):
    """Which scores a classifier gives. Beside `truncate` a model is given only what it `takes`."""

    truncate: bool = True
    raw_scores: bool = False
    """Without softmax or sigmoid."""
    multi_label: bool | None = None
    """True: sigmoid, False: softmax, None: as the model says."""
    as_json: bool = False
    """A model that writes JSON itself may give that, in bytes, best label first, if all scores are finite."""


ITS_OWN_SCORES = Classification()
"""Without options."""

ITS_OWN_JSON = Classification(as_json=True)
"""The same, perhaps in JSON."""


class Answer(Protocol):
    """How the scores of labels that are known before are written. There are a few of these, which are kept."""

    def around(self, labels: Sequence[str]) -> tuple[list[bytes], bool] | None:
        """What stands before the number of each label, and at the end; whether the numbers are big endian.

        They are IEEE 754's of eight bytes. None where scores of these labels cannot be written so.
        """


class _AsJson:
    """An object in JSON, best label first."""

    def around(self, labels: Sequence[str]) -> None:
        """Its numbers are none of eight bytes."""


AS_JSON: Answer = _AsJson()


class Tagging(NamedTuple):
    """Which entities a token classifier gives."""

    aggregation: str = "simple"
    """none, simple, first, average or max, as in transformers' pipeline."""
    ignore_labels: frozenset[str] = frozenset({"O"})
    """Of tokens, with aggregation none; else of entities."""
    truncate: bool = True


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
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] = _NOTHING
    logprobs: int | None = None
    """Give the new tokens' scores, with so many alternatives."""
    prompt_logprobs: int | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    """Instead of a prompt's text."""
    clamp_max_tokens: bool = False
    """max_tokens becomes what there is room for."""
    json_schema: str | None = None
    regex: str | None = None
    grammar: str | None = None
    form: Any = None
    """What Model.formed made of one of these three."""

    def changes(self) -> dict[str, Any]:
        """max_tokens, the seed, and what else is not at its default here: name -> value."""
        return {
            name: value
            for name, value in zip(self._fields, self, strict=True)
            if value != self._field_defaults.get(name, _NOTHING)
        }


class Entity(NamedTuple):
    """A part of a text that has a label; the fields are those of the contract's Entity, in their order."""

    label: str
    score: float
    text: str
    start: int
    stop: int
    place: int | None = None
    """With aggregation none: among the tokens, special ones counted."""


class Token(NamedTuple):
    """A token of a text; the fields are those of the contract's Token, in their order."""

    id: int
    text: str
    start: int | None
    stop: int | None


class Entailment(NamedTuple):
    """What a model of natural language inference says of a text and a hypothesis: numbers of its last layer.

    `contradiction` is that of the label that stands against entailment: the first label, or, where that is entailment
    itself, the last, as in transformers' pipeline.
    """

    contradiction: float
    entailment: float


class Scores(NamedTuple):
    """How likely tokens were; None where that was not asked for, or not here."""

    generated: list[TokenLogprob] | None = None
    prompt: list[TokenLogprob] | None = None


NO_SCORES = Scores()


class Generated(NamedTuple):
    """A generated text, or the end of one that was streamed."""

    text: str
    token_count: int
    """Of the whole text."""
    finish_reason: int
    """A value of the contract's FinishReason."""
    prompt_tokens: int | None
    """None where the model does not tell."""
    scores: Scores = NO_SCORES
    """Of a streamed text those that did not come before."""


class ChatAnswer(NamedTuple):
    """What a model says in a conversation, or the end of what was streamed."""

    text: str
    """Without calls of tools."""
    tool_calls: list[ToolCall]
    token_count: int
    """Of the whole answer."""
    finish_reason: int
    """A value of the contract's FinishReason."""
    prompt_tokens: int | None
    """None where the model does not tell."""
    scores: Scores = NO_SCORES
    """Of a streamed answer those that did not come before."""
