"""The contract's options of a text, by the names that an upstream server has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.errors import PredictionError, invalid_argument
from server.models.requests import Sampling
from server.models.sampling import FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.upstream.servers import ServerKind

_LEAST_TOP_P = 1e-6  # the likeliest token alone, where a server takes no 0
_PENALTY_WINDOW = 8192  # llama.cpp takes memory for each
_PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")

# Those that every kind of server has, and what is no field of the body.
_OF_ALL = ("max_tokens", "temperature", "top_p", "stop", "seed", "clamp_max_tokens")
_NEUTRAL: Mapping[str, Any] = {"top_k": 0, "repetition_penalty": 1.0} | Sampling._field_defaults


def fields_of(sampling: Sampling, server: ServerKind, context: int | None, *, chats: bool) -> dict[str, Any]:
    """Fields of the body. Raises INVALID_ARGUMENT for an option that this kind of server does not have."""
    fields: dict[str, Any] = dict(server.always)
    fields |= {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    if sampling.temperature > 0:
        fields["seed"] = sampling.seed % server.seeds
    if sampling.top_p != 1:
        fields["top_p"] = max(sampling.top_p, _LEAST_TOP_P)
    if sampling.stop:
        _check_stops(sampling, server)
        fields["stop"] = list(sampling.stop)
    given = {name: getattr(sampling, name) for name in Sampling._fields if name not in _OF_ALL}
    for name, value in given.items():
        if value != _NEUTRAL[name]:
            fields |= _field(name, value, server, chats)
    if server.window is not None and any(given[name] != _NEUTRAL[name] for name in _PENALTIES):
        fields[server.window] = context or _PENALTY_WINDOW
    return fields


def refusal(option: str, server: ServerKind, field: str = FIELD) -> PredictionError:
    """INVALID_ARGUMENT that names an option."""
    return invalid_argument(
        f"the upstream server does not take this option ({server.shown}; the option server of the model's location says"
        " what it is)",
        field=f"{field}.{option}",
    )


def _field(option: str, value: Any, server: ServerKind, chats: bool) -> dict[str, Any]:
    name = server.fields.get(option)
    if name is None:
        raise refusal(option, server)
    if option == "logprobs":  # llama.cpp takes 0 for none at all
        return {"logprobs": True, "top_logprobs": max(value, 1)} if chats else {"logprobs": max(value, 1)}
    if option == "logit_bias":
        return {name: {str(token): bias for token, bias in value.items()}}
    return {name: list(value) if isinstance(value, tuple) else value}


def _check_stops(sampling: Sampling, server: ServerKind) -> None:
    if server.max_stops is not None and len(sampling.stop) > server.max_stops:
        raise invalid_argument(
            f"must have at most {server.max_stops} items for {server.shown}, got {len(sampling.stop)}",
            field=f"{FIELD}.stop",
        )
