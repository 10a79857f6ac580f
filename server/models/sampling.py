"""The contract's GenerationOptions, checked."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from predictor.ttypes import GenerationOptions

from process import options as table
from process.options import MAX_TOKENS, REPETITION_PENALTY, STOP, TEMPERATURE, TOP_K, TOP_P
from server.errors import invalid_argument, too_large
from server.models.requests import Sampling

if TYPE_CHECKING:
    from process.options import Option

FIELD = "generation_options"

_SEEDS = 1 << 64
_LARGEST_TOP_K = 1 << 31  # more than any vocabulary has


class SamplingDefaults(NamedTuple):
    """What options mean that a request leaves out: those of the contract, or what a model's own files say."""

    max_tokens: int = MAX_TOKENS.default
    temperature: float = TEMPERATURE.default
    top_k: int = TOP_K.default
    top_p: float = TOP_P.default
    repetition_penalty: float = REPETITION_PENALTY.default
    stop: tuple[str, ...] = ()
    min_p: float = table.MIN_P.default

    def described(self) -> dict[str, str]:
        """Those that are not the contract's, as ModelInfo.details shows them: default_temperature -> 0.6."""
        usual = SamplingDefaults()
        changed = [name for name in self._fields if getattr(self, name) != getattr(usual, name)]
        return {f"default_{name}": _shown(getattr(self, name)) for name in changed}


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else str(value)


CONTRACT = SamplingDefaults()
_NO_OPTIONS = GenerationOptions()


def sampling_of(
    options: GenerationOptions | None,
    max_output_tokens: int,
    defaults: SamplingDefaults = CONTRACT,
    field: str = FIELD,
) -> Sampling:
    """The options with the defaults for what they leave out; `field` is the path of the options in the call.

    Raises INVALID_ARGUMENT, and TOO_LARGE for lists.
    """
    if options is None:
        options = _NO_OPTIONS
    max_tokens = min(defaults.max_tokens, max_output_tokens) if options.max_tokens is None else options.max_tokens
    for option in table.FORMS:
        given = getattr(options, option.name)
        if given is not None and (wrong := option.wrong(len(given))):
            raise too_large(wrong, field=f"{field}.{option.name}")
    if options.clamp_max_tokens:
        max_tokens = min(max_tokens, max_output_tokens)
    if wrong := MAX_TOKENS.wrong(max_tokens, max_output_tokens):
        raise invalid_argument(f"{wrong} (max_output_tokens of the model)", field=f"{field}.max_tokens")
    return Sampling(
        max_tokens,
        _number(TEMPERATURE, options.temperature, defaults.temperature, field),
        max(0, min(_number(TOP_K, options.top_k, defaults.top_k, field), _LARGEST_TOP_K)),
        _number(TOP_P, options.top_p, defaults.top_p, field),
        _number(REPETITION_PENALTY, options.repetition_penalty, defaults.repetition_penalty, field),
        defaults.stop if options.stop is None else _stops(options.stop, f"{field}.{STOP.name}"),
        secrets.randbits(64) if options.seed is None else options.seed % _SEEDS,
        _number(table.MIN_P, options.min_p, defaults.min_p, field),
        _number(table.PRESENCE_PENALTY, options.presence_penalty, 0.0, field),
        _number(table.FREQUENCY_PENALTY, options.frequency_penalty, 0.0, field),
        _number(table.MIN_TOKENS, options.min_tokens, 0, field, max_tokens),
        _ids(table.STOP_TOKEN_IDS, options.stop_token_ids, field) or (),
        bool(options.ignore_eos),
        _biases(options.logit_bias, f"{field}.{table.LOGIT_BIAS.name}"),
        _number(table.LOGPROBS, options.logprobs, None, field),
        _number(table.PROMPT_LOGPROBS, options.prompt_logprobs, None, field),
        _ids(table.PROMPT_TOKEN_IDS, options.prompt_token_ids, field),
        bool(options.clamp_max_tokens) or options.max_tokens is None,
        *(options.json_schema, options.regex, options.grammar),
    )


def _number(option: Option, value: Any, default: Any, field: str, maximum: float | None = None) -> Any:
    """The value, or the default where there is none."""
    if value is None:
        return default
    if wrong := option.wrong(value, maximum):
        raise invalid_argument(wrong, field=f"{field}.{option.name}")
    return value


def _ids(option: Option, ids: list[int] | None, field: str) -> tuple[int, ...] | None:
    """Whether they are in the vocabulary is the model's matter."""
    if ids is None:
        return None
    if wrong := option.wrong(len(ids)):
        raise too_large(wrong, field=f"{field}.{option.name}")
    return tuple(ids)


def _biases(biases: dict[int, float] | None, field: str) -> dict[int, float]:
    if not biases:
        return {}
    if wrong := table.LOGIT_BIAS.wrong(len(biases)):
        raise too_large(wrong, field=field)
    for token, bias in biases.items():
        if wrong := table.LOGIT_BIAS.wrong_value(bias):
            raise invalid_argument(wrong, field=f"{field}[{token}]")
    return biases


def _stops(stops: list[str], field: str) -> tuple[str, ...]:
    if wrong := STOP.wrong(len(stops)):
        raise too_large(wrong, field=field)
    for index, stop in enumerate(stops):
        if wrong := STOP.wrong_item(stop):
            raise invalid_argument(wrong, field=f"{field}[{index}]")
    return tuple(stops)


def sampling_of_chat(options: GenerationOptions | None, most: int, defaults: SamplingDefaults) -> Sampling:
    """Those of an answer in a conversation, checked: it may fill the room that there is, where nothing else is said."""
    for option in (table.PROMPT_LOGPROBS, table.PROMPT_TOKEN_IDS):
        if options is not None and getattr(options, option.name) is not None:
            raise invalid_argument(
                "is for generate, whose prompt is not a conversation", field=f"{FIELD}.{option.name}"
            )
    if defaults.max_tokens == CONTRACT.max_tokens:
        defaults = defaults._replace(max_tokens=most)
    return sampling_of(options, most, defaults)
