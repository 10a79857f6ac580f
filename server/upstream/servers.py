"""What each kind of server calls an option that OpenAI does not have, and what it must be told to be neutral.

Servers ignore fields that they do not know. So that no option is lost silently, one that is not in the table of the
server's kind is refused by name.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ServerKind(NamedTuple):
    """One kind of server."""

    name: str
    """As the option `server` of a location has it."""
    shown: str
    """For people."""
    fields: Mapping[str, str] = MappingProxyType({})
    """Our option -> the field of the body: of options that OpenAI does not have."""
    always: Mapping[str, Any] = MappingProxyType({})
    """Fields that are sent with every text: the kind's own defaults are not the contract's."""
    max_stops: int | None = None
    seeds: int = 1 << 63
    """Seeds lie below."""
    window: str | None = None
    """The field that says how many tokens repetition_penalty looks back at; None: all."""
    embed_fields: Mapping[bool, Mapping[str, Any]] = MappingProxyType({})
    """Whether a text is cut -> fields that say so."""


_TRUNCATE = MappingProxyType({True: MappingProxyType({"truncate_prompt_tokens": -1})})

OPENAI = ServerKind("openai", "OpenAI's API alone", max_stops=4)
KINDS = (
    OPENAI,
    ServerKind(
        "vllm",
        "vLLM",
        MappingProxyType({"top_k": "top_k", "repetition_penalty": "repetition_penalty"}),
        # else the model's own generation_config.json says them
        MappingProxyType({"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}),
        embed_fields=_TRUNCATE,
    ),
    ServerKind(
        "sglang",
        "SGLang",
        MappingProxyType({"top_k": "top_k", "repetition_penalty": "repetition_penalty"}),
        MappingProxyType({"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}),
    ),
    ServerKind(
        "llama.cpp",
        "llama.cpp",
        MappingProxyType({"top_k": "top_k", "repetition_penalty": "repeat_penalty"}),
        MappingProxyType(
            {
                "top_k": 0,
                "top_p": 1.0,
                "min_p": 0.0,
                "repeat_penalty": 1.0,
                "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
            }
        ),
        seeds=(1 << 32) - 1,
        window="repeat_last_n",
    ),
    ServerKind("tgi", "text-generation-inference", max_stops=4),
    ServerKind(
        "predictor",
        "this server",
        MappingProxyType({"top_k": "top_k", "repetition_penalty": "repetition_penalty"}),
        # else the folder's generation_config.json says them
        MappingProxyType({"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}),
        embed_fields=MappingProxyType(
            {cut: MappingProxyType({"truncate": cut}) for cut in (True, False)},
        ),
    ),
)
SERVED = ("generate", "embed", "rerank")
"""What an upstream model can be asked for, as the option `serves` of a location has it."""

NAMES = tuple(kind.name for kind in KINDS)

# What owned_by says in /v1/models.
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "predictor": "predictor"}


def kind_named(name: str) -> ServerKind:
    """The kind of this name. Raises ModelError."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise ModelError(f"server is {name!r}; it must be one of {', '.join(NAMES)}")


def kind_of_owner(owner: object) -> ServerKind:
    """The kind of server that says so of its models."""
    return kind_named(_OWNERS.get(owner, OPENAI.name)) if isinstance(owner, str) else OPENAI
