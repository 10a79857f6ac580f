"""Options behind a model's location."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.errors import ModelError
from server.models.options import NO_OPTIONS, ModelOptions, split_options, without_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("location", "alone", "options"),
    [
        ("folder", "folder", NO_OPTIONS),
        ("a,b/folder", "a,b/folder", NO_OPTIONS),
        ("a=b,c/folder", "a=b,c/folder", NO_OPTIONS),
        ("folder,precision=int8", "folder", ModelOptions(precision="int8")),
        ("a,b=c/d,precision=bfloat16", "a,b=c/d", ModelOptions(precision="bfloat16")),
        ("folder,pooling=cls", "folder", ModelOptions(pooling=("cls",))),
        (
            "folder,pooling=max+mean,ignore=a+b,precision=float32",
            "folder",
            ModelOptions("float32", ("max", "mean"), frozenset({"a", "b"})),
        ),
    ],
)
def test_options(location: str, alone: str, options: ModelOptions) -> None:
    assert split_options(location) == (alone, options)
    assert without_options(location) == alone


def test_a_path_that_looks_like_options_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "folder,precision=int8"
    path.mkdir()
    assert split_options(str(path)) == (str(path), NO_OPTIONS)
    assert split_options(f"{path},precision=bfloat16") == (str(path), ModelOptions(precision="bfloat16"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("precision=int2", "precision is 'int2'; it must be one of float32, bfloat16, int8, int4"),
        ("pooling=median", "pooling is 'median'; it must be one of cls, max, mean, mean_sqrt_len_tokens, "),
        ("speed=high", "speed is no option of a model; the options are precision, pooling, ignore"),
        ("precision=int8,precision=int8", "precision is given twice"),
    ],
)
def test_wrong_options(options: str, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        split_options(f"folder,{options}")
    assert reason in str(caught.value)
