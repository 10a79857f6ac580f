"""generation_config.json: what a request means that leaves options out, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import GenerationOptions

from server.errors import ModelError
from server.models.folder.generation import defaults
from server.models.sampling import SamplingDefaults, sampling_of

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, fields: dict[str, Any], *ignored: str) -> dict[str, Any]:
    (folder / "generation_config.json").write_text(json.dumps(fields))
    return defaults.read(folder, ignored)


def sampling(folder: Path, **fields: Any) -> SamplingDefaults:
    return defaults.sampling(read(folder, fields))


def test_without_the_file_they_are_the_contract_s(tmp_path: Path) -> None:
    assert defaults.sampling(defaults.read(tmp_path)) == SamplingDefaults()
    assert SamplingDefaults().described() == {}


def test_a_model_s_own_are_those_of_its_requests(tmp_path: Path) -> None:
    own = sampling(
        tmp_path, do_sample=True, temperature=0.6, top_k=20, top_p=0.95, repetition_penalty=1.05, max_new_tokens=2048,
        min_p=0.05, stop_strings=["\n\n"], transformers_version="4.51.0", pad_token_id=0,
    )  # fmt: skip
    assert own.described() == {
        "default_temperature": "0.6",
        "default_top_k": "20",
        "default_top_p": "0.95",
        "default_repetition_penalty": "1.05",
        "default_max_tokens": "2048",
        "default_min_p": "0.05",
        "default_stop": '["\\n\\n"]',
    }
    found = sampling_of(None, 100, own)
    assert found[:6] == (100, 0.6, 20, 0.95, 1.05, ("\n\n",))
    assert found.min_p == 0.05
    asked = sampling_of(GenerationOptions(temperature=1.5, stop=[], top_k=0, max_tokens=3), 100, own)
    assert asked[:6] == (3, 1.5, 0, 0.95, 1.05, ())


@pytest.mark.parametrize(
    ("fields", "temperature"),
    [
        ({}, 1.0),
        ({"do_sample": True}, 1.0),
        ({"do_sample": False}, 0.0),
        ({"do_sample": False, "temperature": 0.7}, 0.0),
        ({"temperature": 0.7}, 0.7),
        ({"do_sample": None, "temperature": None}, 1.0),
    ],
)
def test_who_does_not_sample_takes_the_likeliest(tmp_path: Path, fields: dict[str, Any], temperature: float) -> None:
    assert sampling(tmp_path, **fields).temperature == temperature


def test_one_stop_string_and_no_limit_of_tokens(tmp_path: Path) -> None:
    assert sampling(tmp_path, stop_strings="END", top_k=-1) == SamplingDefaults(stop=("END",))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"temperature": -1}, "temperature must lie between 0 and 10, got -1"),
        ({"temperature": "hot"}, "temperature: expected a number, got 'hot'"),
        ({"top_k": 2.5}, "top_k: expected a number, got 2.5"),
        ({"top_p": 2}, "top_p must lie between 0 and 1, got 2"),
        ({"max_new_tokens": True}, "max_new_tokens: expected a number, got True"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"do_sample": "yes"}, "do_sample: expected true or false, got 'yes'"),
        ({"stop_strings": [1]}, r"stop_strings: expected strings, got [1]"),
        ({"stop_strings": [""]}, "stop_strings must have 1 to 256 bytes, got 0"),
        (
            {"typical_p": 0.1},
            "typical_p is 0.1, which is not served; to generate without it, name the model with ,ignore=typical_p",
        ),
        ({"min_p": 1.5}, "min_p must lie between 0 and 1, got 1.5"),
        ({"num_beams": 4}, "num_beams is 4, which is not served"),
        ({"suppress_tokens": [1, 2]}, "suppress_tokens is [1, 2], which is not served"),
        ({"creativity": 3}, "creativity is not known here, and may change texts; where you know that it does not"),
    ],
)
def test_what_is_refused(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        sampling(tmp_path, **fields)
    assert f"generation_config.json: {reason}" in str(caught.value)


def test_what_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, {"top_h": 0.1, "top_k": 3, "num_beams": 1, "typical_p": 1.0}, "top_h") == {
        "top_k": 3,
        "num_beams": 1,
        "typical_p": 1.0,
    }


@pytest.mark.parametrize(
    ("fields", "config", "ends", "first"),
    [
        ({"eos_token_id": [1, 7], "bos_token_id": 3}, {"eos_token_id": 2}, [1, 7], 3),
        ({}, {"eos_token_id": 2, "bos_token_id": 4}, [2], 4),
        ({}, {"eos_token_id": 2}, [2], 2),
        ({}, {}, [], None),
    ],
)
def test_tokens_that_begin_and_end_a_text(
    fields: dict[str, Any], config: dict[str, Any], ends: list[int], first: int | None
) -> None:
    assert defaults.end_tokens(fields, config, 10) == ends
    assert defaults.first_token(fields, config, 10, ends) == first


@pytest.mark.parametrize("token", [10, -1, "x", True])
def test_tokens_that_are_none(token: Any) -> None:
    with pytest.raises(ModelError, match=r"eos_token_id is .*, which is no token of the model's vocabulary of 10"):
        defaults.end_tokens({"eos_token_id": [token]}, {}, 10)
    with pytest.raises(ModelError, match=r"bos_token_id is .*, which is no token"):
        defaults.first_token({"bos_token_id": token}, {}, 10, [])
