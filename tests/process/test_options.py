"""process/options.py: ranges, and that predictor.thrift states the same."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from process import options

if TYPE_CHECKING:
    from process.options import Option

CONTRACT = (Path(__file__).parents[2] / "predictor.thrift").read_text(encoding="utf-8")


def comments(struct: str) -> dict[str, str]:
    """Field -> the comment before it, of a struct of the contract."""
    found = re.search(rf"struct {struct} {{\n(.*?)\n}}", CONTRACT, re.DOTALL)
    assert found is not None
    fields = re.findall(r"/\*\*(.*?)\*/\s*\d+: \w+ [\w<>,]+ (\w+)", found[1], re.DOTALL)
    return {name: " ".join(text.replace("*", " ").split()) for text, name in fields}


def of_method(name: str) -> str:
    """The comment before a method of the contract."""
    found = re.search(rf"/\*\*((?:(?!\*/).)*)\*/\s*\S+ {name}\(", CONTRACT, re.DOTALL)
    assert found is not None
    return " ".join(found[1].split())


@pytest.mark.parametrize(
    ("struct", "table"),
    [
        ("RequestOptions", options.REQUEST_OPTIONS),
        ("ReplyOptions", options.REPLY_OPTIONS),
        ("EmbedOptions", options.EMBED_OPTIONS),
        ("ClassifyOptions", options.CLASSIFY_OPTIONS),
        ("RerankOptions", options.RERANK_OPTIONS),
        ("TokenOptions", options.TOKEN_OPTIONS),
        ("SparseOptions", options.SPARSE_OPTIONS),
        ("TokenizeOptions", options.TOKENIZE_OPTIONS),
        ("GenerationOptions", options.GENERATION_OPTIONS),
        ("ChatOptions", options.CHAT_OPTIONS),
    ],
)
def test_the_contract_has_the_same_options_ranges_and_defaults(struct: str, table: dict[str, Option]) -> None:
    said = comments(struct)
    assert list(table) == list(said)
    for name, option in table.items():
        if option.range and option is not options.SEED:  # a seed's range is its type's
            assert option.range in said[name], name
        if option.item_bytes is not None:
            assert re.search(f"(at most|of 1 to) {option.item_bytes} bytes", said[name]), name
        default = option.default_of and f"the setting {option.default_of}"
        if option.default is not None or default:
            value = f"{option.default:g}" if type(option.default) in (int, float) else str(option.default)
            if option.type is str and not option.choices:
                value = f'"{value}"'
            assert f"default: {default or value.lower()}." in said[name].lower(), name


def test_the_contract_has_the_same_limits_of_other_arguments() -> None:
    assert f"wait_ms ({options.WAIT_MS.range})" in of_method("generate_next")
    assert f"limit ({options.LIMIT.range})" in of_method("list_batches")
    said = comments("BatchRequest")
    assert options.KEY_FIELD.range in said["key_field"]
    assert options.MAX_ERRORS.range in said["max_errors"]


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        (options.MAX_REPLIES, 1, None),
        (options.MAX_REPLIES, 1000, None),
        (options.MAX_REPLIES, 0, "must lie between 1 and 1000, got 0"),
        (options.WAIT_MS, 60_001, "must lie between 0 and 60,000, got 60001"),
        (options.TOP_K, 1 << 40, None),
        (options.TOP_K, -2, "must be at least -1, got -2"),
        (options.TOP_P, 1e-9, None),
        (options.TOP_P, 0.0, None),
        (options.REPETITION_PENALTY, 0.0, "must be over 0 and at most 10, got 0.0"),
        (options.LOGIT_BIAS, 1025, "must have at most 1024 items, got 1025"),
        (options.TEMPERATURE, 0.0, None),
        (options.TEMPERATURE, math.nan, "must be a finite number, got nan"),
        (options.THRESHOLD, math.inf, "must be a finite number, got inf"),
        (options.THRESHOLD, -1e300, None),
        (options.REQUEST_ID, 128, None),
        (options.REQUEST_ID, 129, "must have at most 128 characters, got 129"),
        (options.KEY_FIELD, 0, "must have 1 to 256 characters, got 0"),
        (options.STOP, 17, "must have at most 16 items, got 17"),
    ],
)
def test_a_number_lies_in_its_range(option: Option, value: float, complaint: str | None) -> None:
    assert option.wrong(value) == complaint


@pytest.mark.parametrize(("item", "complaint"), [("a", None), ("é" * 128, None), ("", "got 0"), ("é" * 129, "got 258")])
def test_an_item_of_a_list_has_its_bytes(item: str, complaint: str | None) -> None:
    found = options.STOP.wrong_item(item)
    assert found == (complaint and f"must have 1 to 256 bytes, {complaint}")


@pytest.mark.parametrize(("bias", "fits"), [(-100, True), (100.0, True), (101, False), (math.nan, False)])
def test_a_value_of_a_dict_lies_in_its_range(bias: float, fits: bool) -> None:
    assert options.LOGIT_BIAS.wrong_value(bias) == (None if fits else f"must lie between -100 and 100, got {bias}")


def test_a_setting_or_a_model_may_be_the_maximum() -> None:
    assert options.TIMEOUT_MS.wrong(600_000, 600_000) is None
    assert options.TIMEOUT_MS.wrong(600_001, 600_000) == "must lie between 1 and 600,000, got 600001"
