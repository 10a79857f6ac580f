"""What models can do, and which of the contract's methods need it."""

from __future__ import annotations

import enum


class Capability(enum.StrEnum):
    """A model declares those that it has; RPCs, routes and job methods ask for one."""

    __hash__ = str.__hash__  # enum's own is Python, and every request looks a capability up

    CLASSIFY = "classify"
    REPLY = "reply"
    EMBED = "embed"
    GENERATE = "generate"
    RERANK = "rerank"
    CLASSIFY_TOKENS = "classify_tokens"
    EMBED_SPARSE = "embed_sparse"
    EMBED_TOKENS = "embed_tokens"
    EMBED_IDS = "embed_ids"
    TOKENIZE = "tokenize"
    CHAT = "chat"


METHODS = {
    Capability.CLASSIFY: ("predict", "predict_batch", "classify"),
    Capability.REPLY: ("reply", "reply_batch", "reply_conversation"),
    Capability.EMBED: ("embed", "embed_batch", "embed_matrix"),
    Capability.GENERATE: ("generate", "generate_begin"),
    Capability.RERANK: ("rerank",),
    Capability.CLASSIFY_TOKENS: ("classify_tokens", "classify_tokens_batch"),
    Capability.EMBED_SPARSE: ("embed_sparse",),
    Capability.EMBED_TOKENS: ("embed_tokens",),
    Capability.EMBED_IDS: ("embed_ids",),
    Capability.TOKENIZE: ("tokenize", "detokenize"),
    Capability.CHAT: ("chat", "chat_begin", "chat_prompt"),
}
"""The contract's methods that a model with this capability serves: the first is what a message calls them all by."""


def methods_of(capabilities: tuple[Capability, ...]) -> list[str]:
    """The contract's methods that a model with these serves, as ModelInfo.methods lists them."""
    return [method for capability in capabilities for method in METHODS[capability]]
