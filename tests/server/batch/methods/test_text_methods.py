"""Lines to instances and results to JSON, method by method."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from predictor.ttypes import FinishReason, GenerationOptions

from server.batch.methods.local_executors import line_limit
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.pipeline.lines import LineLimit
from server.batch.state.errors import RowError
from server.batch.state.job import JobRequest
from server.config import Settings
from server.models.answers import best_labels
from server.models.requests import Generated
from server.models.vectors import matrix

FIELDS = {"predict": "doc", "reply": "message", "embed": "text"}


@pytest.mark.parametrize(("method", "field"), FIELDS.items())
def test_text_or_object_with_the_text(method: str, field: str) -> None:
    instance = TEXT_METHODS[method].instance
    assert instance("a text") == instance({field: "a text", "more": 1}) == "a text"
    for wrong in (None, 1, ["a"], {}, {field: None}, {field: 1}, {"prompt": "a text"}):
        with pytest.raises(RowError, match=f"with the string '{field}', got "):
            instance(wrong)


def test_long_values_are_not_repeated_whole() -> None:
    with pytest.raises(RowError) as caught:
        TEXT_METHODS["predict"].instance({"text": "é" * 10_000})
    assert len(caught.value.message) < 200


def test_prompts_have_options() -> None:
    instance = TEXT_METHODS["generate"].instance
    assert instance("a prompt") == ("a prompt", GenerationOptions())
    options = {"max_tokens": 3, "temperature": 0, "top_p": 0.5, "stop": ["a", "b"], "seed": 2**63}
    assert instance({"prompt": "a", **options, "other": 1}) == ("a", GenerationOptions(**options))


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", "3"), ("max_tokens", True), ("top_k", 1.5), ("temperature", [1]), ("stop", "a"), ("stop", [1])],
)
def test_options_of_the_wrong_type(name: str, value: Any) -> None:
    with pytest.raises(RowError, match=f"'{name}' is of the wrong type"):
        TEXT_METHODS["generate"].instance({"prompt": "a", name: value})


def test_results() -> None:
    def parsed(method: str, value: Any) -> Any:
        return json.loads(b"{" + TEXT_METHODS[method].result(value) + b"}")

    scores = parsed("predict", best_labels({"low": -1.0, "high": 2.0}, None))["scores"]
    assert list(scores) == ["high", "low"]
    assert parsed("reply", {"ok": 1.5}) == {"replies": {"ok": 1.5}}
    assert parsed("embed", matrix([np.array([0.1, 2], "<f4").tobytes()], None)) == {"embedding": [0.1, 2.0]}
    done = Generated(" a {text}", 3, FinishReason.LENGTH, 2)
    assert parsed("generate", done) == {"continuation": " a {text}", "token_count": 3, "finish_reason": "LENGTH"}


def test_lines_of_texts_are_shorter_than_those_of_saved_models() -> None:
    settings = Settings()

    def limit(model: str | None) -> LineLimit:
        return line_limit(JobRequest("predict", model, "/in/", "/out"), settings)

    assert limit(None) == limit("a") == LineLimit(1 << 20, "batch_text_line_bytes")
    assert limit("owner/name") == limit(None), "a name that is no location"
    assert limit("/models/a") == limit("gs://models/a") == LineLimit(64 << 20, "batch_line_bytes")
