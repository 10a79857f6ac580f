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

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class ServerKind(NamedTuple):
    """One kind of server."""

    name: str
    """As the option `server` of a location has it."""
    shown: str
    """For people."""
    fields: Mapping[str, str] = _NOTHING
    """Our option -> the field of the body: of those beside max_tokens, temperature, top_p, stop and seed."""
    always: Mapping[str, Any] = _NOTHING
    """Fields that are sent with every text: the kind's own defaults are not the contract's."""
    max_stops: int | None = None
    seeds: int = 1 << 63
    """Seeds lie below."""
    window: str | None = None
    """The field that says how many tokens repetition_penalty looks back at; None: all."""
    chat_fields: Mapping[str, str] = _NOTHING
    """The same as `fields` of a conversation's options."""
    always_in_chats: Mapping[str, Any] = _NOTHING
    embed_fields: Mapping[bool, Mapping[str, Any]] = _NOTHING
    """Whether a text is cut -> fields that say so."""


_PENALTIES = {name: name for name in ("presence_penalty", "frequency_penalty")}
_SAMPLING = _PENALTIES | {name: name for name in ("logit_bias", "min_p", "repetition_penalty", "top_k")}
_ALL = _SAMPLING | {name: name for name in ("ignore_eos", "min_tokens", "stop_token_ids")}
_TEMPLATE = {
    "template_arguments": "chat_template_kwargs",
    "add_generation_prompt": "add_generation_prompt",
    "continue_final_message": "continue_final_message",
    "reasoning_content": "reasoning_content",
}
# Else the model's own generation_config.json says them.
_NEUTRAL = {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}

OPENAI = ServerKind("openai", "OpenAI's API alone", _PENALTIES | {"logit_bias": "logit_bias"}, max_stops=4)
KINDS = (
    OPENAI,
    ServerKind(
        "vllm",
        "vLLM",
        _ALL,
        _NEUTRAL,
        chat_fields=_TEMPLATE,
        embed_fields={True: {"truncate_prompt_tokens": -1}},
    ),
    ServerKind("sglang", "SGLang", _ALL, _NEUTRAL, chat_fields=_TEMPLATE),
    ServerKind(
        "llama.cpp",
        "llama.cpp",
        _SAMPLING | {"repetition_penalty": "repeat_penalty", "ignore_eos": "ignore_eos", "logprobs": "logprobs"},
        {
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        },
        seeds=(1 << 32) - 1,
        window="repeat_last_n",
        chat_fields={name: field for name, field in _TEMPLATE.items() if name != "continue_final_message"},
        always_in_chats={"reasoning_format": "none"},
    ),
    ServerKind("tgi", "text-generation-inference", _PENALTIES, max_stops=4),
    ServerKind(
        "predictor",
        "this server",
        _ALL,
        {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0},
        chat_fields=_TEMPLATE,
        embed_fields={cut: {"truncate": cut} for cut in (True, False)},
    ),
)
SERVED = ("generate", "chat", "embed", "rerank")
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
