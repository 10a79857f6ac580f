"""Each method of jobs with a model that can do all, and the options of single lines."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from server.batch.methods.loaded_models import LoadedModels
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.methods.text_model import TextModel
from server.batch.state.control import Control
from server.batch.state.errors import RowError
from server.config import Settings
from server.errors import ErrorCode
from tests.support.letters import Letters, registry_of, vector_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ask = Callable[..., list[Any]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """ask(method, *lines): what a job writes for the lines' values; a RowError where it writes that."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    models = LoadedModels(registry_of(Settings(), letters=Letters()), loop)

    def asked(method: str, *lines: Any) -> list[Any]:
        model = TextModel(models, method, None, Control())
        results = model.submit([model.instance(line) for line in lines]).wait(Control())
        return [json.loads(b"{%b}" % result) if type(result) is bytes else result for result in results]

    yield asked
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def near(*vectors: Any) -> Any:
    return [pytest.approx(list(vector), abs=1e-6) for vector in vectors]


def test_labels(ask: Ask) -> None:
    plain, best, raw, own = ask(
        "predict",
        "abbb",
        {"doc": "abbb", "options": {"top_k": 1}},
        {"doc": "abbb", "options": {"raw_scores": True, "top_k": None}},
        {"doc": "abc", "options": {"candidate_labels": ["cd", "ab"], "hypothesis_template": "{}", "multi_label": True}},
    )
    assert plain == {"scores": {"b": 0.75, "a": 0.25}}
    assert best == {"scores": {"b": 0.75}}
    assert raw == {"scores": {"b": 3.0, "a": 1.0}}
    assert list(own["scores"]) == ["ab", "cd"]
    assert own["scores"]["cd"] == pytest.approx(0.5)


def test_ranks(ask: Ask) -> None:
    line = {"query": "ab", "texts": ["x", "aaab"]}
    every, best = ask("rerank", line, {**line, "options": {"top_n": 1, "raw_scores": True}})
    assert [one["index"] for one in every["ranked"]] == [1, 0]
    assert best == {"ranked": [{"index": 1, "score": 4.0}]}


def test_entities_and_tokens(ask: Ask) -> None:
    ada = {"label": "NAME", "score": 0.5, "text": "Ada", "start": 4, "stop": 7}
    options = {"aggregation": "none", "ignore_labels": ["O"]}
    assert ask("classify_tokens", "met Ada", {"text": "met Ada", "options": options}) == [
        {"entities": [ada]},
        {"entities": [{**ada, "index": 1}]},
    ]
    (bare,) = ask("tokenize", {"text": "an egg", "options": {"special_tokens": False}})
    assert bare == {
        "tokens": [{"id": 2, "text": "an", "start": 0, "stop": 2}, {"id": 3, "text": "egg", "start": 3, "stop": 6}]
    }


def test_vectors(ask: Ask) -> None:
    plain, short, encoded, prompted = ask(
        "embed",
        "aabbcd",
        {"text": "aabbcd", "options": {"dimensions": 2, "normalize": False}},
        {"text": "aabbcd", "options": {"dimensions": 3, "encoding": "int8"}},
        {"text": "b", "options": {"prompt_name": "query"}, "prompt": "not read"},
    )
    assert [plain["embedding"]] == near(vector_of("aabbcd"))
    assert [short["embedding"]] == near(vector_of("aabbcd")[:2])
    assert encoded == {"embedding": [127, 127, 64]}
    assert [prompted["embedding"]] == near(vector_of("aab"))

    words, none = ask("embed_tokens", "aa bc", "")
    assert words["embedding"] == near(vector_of("aa"), vector_of("bc"))
    assert none == {"embedding": []}
    sparse, best = ask("embed_sparse", "abbb", {"text": "abbb", "options": {"max_active_dims": 1, "tokens": True}})
    assert sparse == {"embedding": {"indices": [97, 98], "values": [1.0, 3.0]}}
    assert best == {"embedding": {"indices": [98], "values": [3.0], "tokens": ["b"]}}


def test_options_that_are_no_object_mean_something_else() -> None:
    assert TEXT_METHODS["predict"].instance({"doc": "a", "options": ["A", "B"]}) == "a"
    assert TEXT_METHODS["embed"].instance({"text": "a", "options": {}, "dimensions": 7}) == "a"


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("embed", {"top_k": 1}, "options.top_k: there is no such option; there are truncate, truncation_side, split,"),
        ("embed", {"dimensions": "2"}, "options.dimensions: is of the wrong type"),
        ("embed", {"dimensions": True}, "options.dimensions: is of the wrong type"),
        ("embed", {"encoding": "ubinary"}, "options.encoding: must be one of float32, int8, binary"),
        ("classify_tokens", {"aggregation": 1}, "options.aggregation: is of the wrong type"),
    ],
)
def test_options_that_are_wrong_in_themselves(method: str, options: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        TEXT_METHODS[method].instance({"text": "a", "options": options})
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("method", "line", "code", "message"),
    [
        ("embed", {"text": "a", "options": {"dimensions": 9}}, 1, "options.dimensions: must lie between 1 and 8"),
        ("embed", {"text": "a", "options": {"truncation_side": "left"}}, 1, "options.truncation_side: the model"),
        ("predict", {"doc": "a", "options": {"top_k": 0}}, 1, "options.top_k: must be at least 1"),
        ("predict", {"doc": "a" * 21, "options": {"truncate": False}}, 3, "the text has more than 20 tokens"),
        ("rerank", {"query": "a", "texts": ["a", "nan"]}, 8, "texts[1]: the model gave numbers that are NaN"),
        ("reply", "a nan", 8, "the model gave numbers that are NaN"),
        ("predict", "a nan", 8, "the model gave numbers that are NaN"),
        ("embed", "a nan", 8, "the model gave numbers that are NaN"),
        ("embed_sparse", "a nan", 8, "the model gave numbers that are NaN"),
        ("classify_tokens", "a nan", 8, "the model gave numbers that are NaN"),
    ],
)
def test_lines_that_cannot_be_answered(ask: Ask, method: str, line: Any, code: int, message: str) -> None:
    (error,) = ask(method, line)
    assert type(error) is RowError
    assert error.code == code
    assert error.message.startswith(message)


@pytest.mark.parametrize(
    ("value", "got"),
    [("a", "a string"), (1, "a number"), ({"query": "a"}, "another object"), ({"query": 1, "texts": []}, "another")],
)
def test_lines_that_are_no_query_with_texts(value: Any, got: str) -> None:
    with pytest.raises(RowError, match=f"got {got}") as caught:
        TEXT_METHODS["rerank"].instance(value)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
