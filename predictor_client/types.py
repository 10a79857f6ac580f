"""What the contract's structs are here: dataclasses of the same names and fields, enums of the same names and values.

A field that may be None is one that the server may leave out; predictor.thrift says when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from predictor_client.vectors import Matrix, Vector  # noqa: TC001 - results.py reads the types of the fields

if TYPE_CHECKING:
    from typing import Self


class ContractEnum(IntEnum):
    """A value that a newer server knows and this version does not is a member named UNKNOWN_n."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = f"UNKNOWN_{value}", value
        return unknown


class Lane(ContractEnum):
    """Which of the two lanes of a model's queue a request waits in."""

    INTERACTIVE = 0
    BULK = 1


class TruncationSide(ContractEnum):
    """Which end of a text that is cut is left out."""

    RIGHT = 0
    LEFT = 1


class VectorEncoding(ContractEnum):
    """How the numbers of a vector are written."""

    FLOAT32 = 0
    INT8 = 1
    BINARY = 2


class Aggregation(ContractEnum):
    """How the tokens of a name become one entity."""

    NONE = 0
    SIMPLE = 1
    FIRST = 2
    AVERAGE = 3
    MAX = 4


class FinishReason(ContractEnum):
    """Why a generated text ends."""

    LENGTH = 1
    STOP = 2
    END_OF_TEXT = 3
    CANCELLED = 4
    DEADLINE = 5


class OnError(ContractEnum):
    """What a job does with a line that cannot be parsed or predicted."""

    FAIL = 0
    RECORD = 1


class BatchState(ContractEnum):
    """Where a job is."""

    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5


class BatchStage(ContractEnum):
    """The steps of a job, in their order."""

    MODEL = 1
    TENSORFLOW = 2
    PREDICTIONS = 3


class ModelState(ContractEnum):
    """Where a model is."""

    LOADING = 1
    READY = 2
    UNLOADING = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class ScoredLabel:
    """A label and its score; `index` is its place among the model's labels, or among those that were given."""

    label: str
    score: float
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text's place and score in a ranking; `index` is its place in the list that was given."""

    index: int
    score: float
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text that has a label; `start` and `stop` count Unicode characters."""

    label: str
    score: float
    text: str
    start: int
    stop: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text; start and stop are None for a special one."""

    id: int
    text: str
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingMatrix:
    """Vectors: `values` has `rows` rows.

    FLOAT32: float32, `columns` numbers a row. INT8: int8, the same, and `scales` has a float32 for each row that its
    numbers are to be multiplied with. BINARY: uint8, (columns + 7) / 8 bytes a row.
    """

    rows: int
    columns: int
    values: Matrix
    tokens: int | None = None
    encoding: VectorEncoding = VectorEncoding.FLOAT32
    scales: Vector | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """The numbers of a vector that are not 0: int32 indices in rising order, as many float64 values."""

    indices: Vector
    values: Vector
    tokens: list[str] | None = None


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """A token that could stand at a place of a text."""

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a text, and how likely it was there."""

    id: int
    text: str
    bytes: bytes
    logprob: float | None = None
    top: list[TopLogprob] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated text: `continuation` has the new text only."""

    prompt: str
    continuation: str
    token_count: int
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for; `arguments` is a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of a conversation: role is system, user, assistant, tool, or what the chat template knows."""

    role: str
    content: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """What a model says next in a conversation."""

    content: str
    tool_calls: list[ToolCall]
    token_count: int
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    logprobs: list[TokenLogprob] | None = None

    @property
    def message(self) -> ChatMessage:
        """The answer as the conversation's next message."""
        return ChatMessage("assistant", self.content, tool_calls=self.tool_calls or None)


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation as a model reads it."""

    text: str
    ids: list[int]


@dataclass(frozen=True, slots=True)
class GenerationChunk:
    """The next part of a streamed text; finish_reason is set in the last one."""

    text: str
    token_count: int
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None
    prompt: str | None = None
    tool_calls: list[ToolCall] | None = None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A job: files in, files out."""

    method: str
    input: str
    output: str
    model: str | None = None
    on_error: OnError | None = None
    max_errors: int | None = None
    key_field: str | None = None


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job and how far it is; times are seconds since 1970, UTC."""

    id: str
    state: BatchState
    request: BatchRequest
    progress: float
    rows_done: int
    rows_failed: int
    files_done: int
    files_total: int
    created_at: float
    finished_at: float | None = None
    error: str | None = None
    failed_stage: BatchStage | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in (BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED)


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What one request to a model may be, and how much may wait for it; 0 means no limit."""

    max_tokens: int
    queue_items: int
    queue_tokens: int
    batch_items: int
    batch_tokens: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of the server; `loaded_at` is in seconds since 1970, UTC, once it is loaded."""

    name: str
    version: str
    kind: str
    state: ModelState
    location: str
    methods: list[str]
    default_for: list[str]
    limits: ModelLimits
    equal_lengths_only: bool
    details: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    loaded_at: float | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's queue, and counters since it was loaded."""

    name: str
    state: ModelState
    queue_depth: int
    queue_tokens: int
    running: int
    accepted: int
    completed: int
    failed: int
    overloaded: int
    expired: int
    cancelled: int
    batches: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server; `reasons` say why it is not ready."""

    version: str
    uptime_s: float
    ready: bool
    reasons: list[str]
    connections: int
    models: list[ModelStatus]
