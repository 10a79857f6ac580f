"""What the methods take beside their arguments. Their ranges and defaults stand in predictor.thrift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from predictor_client.types import Aggregation, Lane, OnError, TruncationSide, VectorEncoding


class CallOptions(TypedDict, total=False):
    """Of every prediction. `timeout` is in seconds; the server ends the call then."""

    model: str | None
    timeout: float | None
    lane: Lane | None
    request_id: str | None


class ReplyOptions(CallOptions, total=False):
    """Of the reply methods."""

    max_replies: int
    threshold: float


class ClassifyOptions(CallOptions, total=False):
    """Of classify."""

    top_k: int
    raw_scores: bool
    multi_label: bool
    candidate_labels: Sequence[str]
    hypothesis_template: str
    truncate: bool


class RerankOptions(CallOptions, total=False):
    """Of rerank."""

    top_n: int
    raw_scores: bool
    truncate: bool


class TokenOptions(CallOptions, total=False):
    """Of the classify_tokens methods."""

    aggregation: Aggregation
    ignore_labels: Sequence[str]
    truncate: bool


class VectorOptions(CallOptions, total=False):
    """Of embed and embed_batch, whose vectors are float32."""

    truncate: bool
    truncation_side: TruncationSide
    split: bool
    dimensions: int
    normalize: bool
    prompt_name: str
    prompt: str


class EmbedOptions(VectorOptions, total=False):
    """Of the other methods that give dense vectors."""

    encoding: VectorEncoding


class SparseOptions(CallOptions, total=False):
    """Of embed_sparse."""

    truncate: bool
    truncation_side: TruncationSide
    prompt_name: str
    prompt: str
    max_active_dims: int
    tokens: bool


class TokenizeOptions(CallOptions, total=False):
    """Of tokenize."""

    special_tokens: bool


class GenerationOptions(CallOptions, total=False):
    """Of generate and generate_stream."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: Sequence[str]
    seed: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    min_tokens: int
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    logit_bias: Mapping[int, float]
    logprobs: int
    prompt_logprobs: int
    prompt_token_ids: Sequence[int]
    json_schema: str | Mapping[str, Any]
    regex: str
    grammar: str
    clamp_max_tokens: bool


class PromptOptions(CallOptions, total=False):
    """Of chat_prompt. Tools and template_arguments are JSON, or what becomes it."""

    tools: Sequence[str | Mapping[str, Any]]
    add_generation_prompt: bool
    continue_final_message: bool
    template_arguments: str | Mapping[str, Any]
    parse_tool_calls: bool


class ChatOptions(PromptOptions, GenerationOptions, total=False):
    """Of chat and chat_stream."""


class JobOptions(TypedDict, total=False):
    """Of submit_batch."""

    model: str | None
    on_error: OnError
    max_errors: int
    key_field: str
