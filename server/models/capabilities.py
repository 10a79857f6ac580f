"""What models can do, and which of the contract's methods need it."""

from __future__ import annotations

import enum


class Capability(enum.StrEnum):
    """A model declares those that it has; RPCs, routes and job methods ask for one."""

    CLASSIFY = "classify"
    REPLY = "reply"
    EMBED = "embed"
    GENERATE = "generate"


METHODS = {
    Capability.CLASSIFY: ("predict", "predict_batch"),
    Capability.REPLY: ("reply", "reply_batch", "reply_conversation"),
    Capability.EMBED: ("embed", "embed_batch", "embed_matrix"),
    Capability.GENERATE: ("generate", "generate_begin"),
}
"""The contract's methods that a model with this capability serves: the first is what a message calls them all by."""


def methods_of(capabilities: tuple[Capability, ...]) -> list[str]:
    """The contract's methods that a model with these serves, as ModelInfo.methods lists them."""
    return [method for capability in capabilities for method in METHODS[capability]]
