"""generation_config.json: what a request means that leaves options out, and which tokens begin and end a text.

What it says of temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens and stop_strings takes the place of
the contract's defaults; do_sample: false means temperature 0. What changes texts and is not known here is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from process.options import MAX_TOKENS, MIN_P, REPETITION_PENALTY, STOP, TEMPERATURE, TOP_K, TOP_P, Option
from server.errors import ModelError
from server.models.folder.fields import IGNORE
from server.models.formats import read_json
from server.models.sampling import SamplingDefaults

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FILE = "generation_config.json"

_OPTIONS = {
    "temperature": TEMPERATURE,
    "top_k": TOP_K,
    "top_p": TOP_P,
    "repetition_penalty": REPETITION_PENALTY,
    "min_p": MIN_P,
    "max_new_tokens": MAX_TOKENS,
}
# Of the tokens of a text, which are read here.
_READ = {*_OPTIONS, "do_sample", "stop_strings", "bos_token_id", "eos_token_id"}

# Fields that change texts, with the values that change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "min_length": (0,),
    "min_new_tokens": (0,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "top_h": (),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ([], {}),
    "token_healing": (False,),
    "guidance_scale": (1,),
    "watermarking_config": (),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "constraints": (),
    "force_words_ids": (),
}
# Of beams, of where a text's length ends otherwise (max_length counts the prompt too), of how it is computed.
_HARMLESS = {
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "cache_config",
    "cache_implementation",
    "chat_format",
    "compile_config",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "diversity_penalty",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_ngram_size",
    "max_time",
    "max_window_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "return_dict_in_generate",
    "speculation_type",
    "target_lookbehind",
    "transformers_version",
    "trust_remote_code",
    "use_cache",
    "use_mtp",
}


def read(folder: Path, ignored: Collection[str] = ()) -> dict[str, Any]:
    """The file's fields that are set; none where it is not there. Raises ModelError for one that is not served."""
    if not (folder / FILE).is_file():
        return {}
    fields = {name: value for name, value in read_json(folder / FILE).items() if value is not None}
    for name in ignored:
        fields.pop(name, None)
    for name, value in fields.items():
        if name in _READ or name in _HARMLESS:
            continue
        if name not in _NEUTRAL:
            raise ModelError(f"{FILE}: {name} is not known here, and may change texts; {IGNORE.format(field=name)}")
        if value not in _NEUTRAL[name]:
            raise ModelError(
                f"{FILE}: {name} is {value!r}, which is not served; to generate without it, name the model with"
                f" ,ignore={name} behind its folder"
            )
    return fields


def sampling(fields: dict[str, Any]) -> SamplingDefaults:
    """What a request means that leaves options out. Raises ModelError for a value that a request could not give."""
    given = {option.name: _number(name, option, fields) for name, option in _OPTIONS.items() if name in fields}
    if given.get(MAX_TOKENS.name) == 0:
        raise ModelError(f"{FILE}: max_new_tokens must be at least 1, got 0")
    samples = fields.get("do_sample", True)
    if not isinstance(samples, bool):
        raise ModelError(f"{FILE}: do_sample: expected true or false, got {samples!r}")
    if not samples:
        given["temperature"] = 0.0
    if "stop_strings" in fields:
        given["stop"] = _stops(fields["stop_strings"])
    return SamplingDefaults(**given)


def _number(name: str, option: Option, fields: dict[str, Any]) -> Any:
    value = fields[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or (option.type is int and int(value) != value):
        raise ModelError(f"{FILE}: {name}: expected a number, got {value!r}")
    if name == "top_k" and value == -1:  # as some write that there is no limit
        return 0
    if wrong := option.wrong(value):
        raise ModelError(f"{FILE}: {name} {wrong}")
    return option.type(value)


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise ModelError(f"{FILE}: stop_strings: expected strings, got {given!r}")
    if wrong := STOP.wrong(len(stops)) or next(filter(None, map(STOP.wrong_item, stops)), None):
        raise ModelError(f"{FILE}: stop_strings {wrong}")
    return tuple(stops)


# ------------------------------------------------------------------------------------------------------ begin and end


def end_tokens(fields: dict[str, Any], config: dict[str, Any], vocabulary: int) -> list[int]:
    """Tokens that end a text: of generation_config.json, or else of config.json. Raises ModelError."""
    given = fields.get("eos_token_id", config.get("eos_token_id"))
    ends = given if isinstance(given, list) else [] if given is None else [given]
    return [_token("eos_token_id", token, vocabulary) for token in ends]


def first_token(fields: dict[str, Any], config: dict[str, Any], vocabulary: int, ends: list[int]) -> int | None:
    """What an empty prompt begins with, where the tokenizer puts nothing there."""
    first = fields.get("bos_token_id", config.get("bos_token_id"))
    if first is None:
        return ends[0] if ends else None
    return _token("bos_token_id", first, vocabulary)


def _token(name: str, token: Any, vocabulary: int) -> int:
    if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < vocabulary:
        raise ModelError(f"{name} is {token!r}, which is no token of the model's vocabulary of {vocabulary}")
    return token
