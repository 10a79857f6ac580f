"""The contract's GenerationOptions, checked."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from server.errors import PredictionError, invalid_argument, too_large
from server.models.requests import Sampling

if TYPE_CHECKING:
    from predictor.ttypes import GenerationOptions

DEFAULT_TOKENS = 20
_STOPS, _STOP_BYTES = 16, 256
_MOST = 10.0
_SEEDS = 1 << 64
_MOST_TOP_K = 1 << 31  # more than any vocabulary has


def sampling_of(options: GenerationOptions | None, max_output_tokens: int) -> Sampling:
    """What the options ask for. Raises INVALID_ARGUMENT, and TOO_LARGE for `stop`."""
    default = min(DEFAULT_TOKENS, max_output_tokens)
    if options is None:
        return Sampling(default, 1.0, 0, 1.0, 1.0, (), secrets.randbits(64))
    max_tokens = default if options.max_tokens is None else options.max_tokens
    if not 1 <= max_tokens <= max_output_tokens:
        raise _wrong("max_tokens", max_tokens, f"between 1 and {max_output_tokens} (the model's max_output_tokens)")
    top_k = 0 if options.top_k is None else options.top_k
    if top_k < 0:
        raise _wrong("top_k", top_k, "at least 0", must="be")
    return Sampling(
        max_tokens,
        _number(options.temperature, "temperature", 0, _MOST),
        min(top_k, _MOST_TOP_K),
        _number(options.top_p, "top_p", 0, 1, over=True),
        _number(options.repetition_penalty, "repetition_penalty", 0, _MOST, over=True),
        _stops(options.stop),
        secrets.randbits(64) if options.seed is None else options.seed % _SEEDS,
    )


def _number(value: float | None, name: str, least: float, most: float, *, over: bool = False) -> float:
    """1 where there is none; NaN lies in no range."""
    if value is None:
        return 1.0
    if not (least < value <= most or (value == least and not over)):
        raise _wrong(name, value, f"over {least:g} and at most {most:g}" if over else f"between {least:g} and {most:g}")
    return value


def _stops(stops: list[str] | None) -> tuple[str, ...]:
    if not stops:
        return ()
    if len(stops) > _STOPS:
        raise too_large(f"generation_options.stop has {len(stops)} strings; at most {_STOPS} are taken")
    for index, stop in enumerate(stops):
        size = len(stop.encode())
        if not 1 <= size <= _STOP_BYTES:
            raise _wrong(f"stop[{index}]", f"a string of {size} bytes", f"of 1 to {_STOP_BYTES} bytes", must="be")
    return tuple(stops)


def _wrong(name: str, value: object, wanted: str, must: str = "lie") -> PredictionError:
    return invalid_argument(f"generation_options.{name} is {value}; it must {must} {wanted}")
