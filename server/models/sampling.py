"""The contract's GenerationOptions, checked."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from process.options import MAX_TOKENS, REPETITION_PENALTY, STOP, TEMPERATURE, TOP_K, TOP_P
from server.errors import invalid_argument, too_large
from server.models.requests import Sampling

if TYPE_CHECKING:
    from predictor.ttypes import GenerationOptions

    from process.options import Option

FIELD = "generation_options"

_SEEDS = 1 << 64
_LARGEST_TOP_K = 1 << 31  # more than any vocabulary has
_DEFAULTS = (TEMPERATURE.default, TOP_K.default, TOP_P.default, REPETITION_PENALTY.default)


def sampling_of(options: GenerationOptions | None, max_output_tokens: int, field: str = FIELD) -> Sampling:
    """The options with defaults for what they leave out; `field` is the path of the options in the call.

    Raises INVALID_ARGUMENT, and TOO_LARGE for `stop`.
    """
    default = min(MAX_TOKENS.default, max_output_tokens)
    if options is None:
        return Sampling(default, *_DEFAULTS, (), secrets.randbits(64))
    max_tokens = default if options.max_tokens is None else options.max_tokens
    if wrong := MAX_TOKENS.wrong(max_tokens, max_output_tokens):
        raise invalid_argument(f"{wrong} (max_output_tokens of the model)", field=f"{field}.max_tokens")
    return Sampling(
        max_tokens,
        _number(TEMPERATURE, options.temperature, field),
        min(_number(TOP_K, options.top_k, field), _LARGEST_TOP_K),
        _number(TOP_P, options.top_p, field),
        _number(REPETITION_PENALTY, options.repetition_penalty, field),
        _stops(options.stop, f"{field}.{STOP.name}"),
        secrets.randbits(64) if options.seed is None else options.seed % _SEEDS,
    )


def _number(option: Option, value: Any, field: str) -> Any:
    """The value, or the default where there is none."""
    if value is None:
        return option.default
    if wrong := option.wrong(value):
        raise invalid_argument(wrong, field=f"{field}.{option.name}")
    return value


def _stops(stops: list[str] | None, field: str) -> tuple[str, ...]:
    if not stops:
        return ()
    if wrong := STOP.wrong(len(stops)):
        raise too_large(wrong, field=field)
    for index, stop in enumerate(stops):
        if wrong := STOP.wrong_item(stop):
            raise invalid_argument(wrong, field=f"{field}[{index}]")
    return tuple(stops)
