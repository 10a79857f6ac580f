"""Models that are tried: what they would do to a server is done to the process that tries them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from server.config import Settings
from server.errors import ModelError
from server.models.trial.trials import Trials, Tried
from tests.e2e import folders
from tests.support import hostile
from tests.support.folders import forms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

FAST = Settings(warm_up_tokens=0)


def tried(location: object, **settings: Any) -> Tried:
    given = FAST.model_copy(update=settings)
    return Trials(given).run(str(location), given)


def refusal(location: object, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        tried(location, **settings)
    return str(caught.value)


def test_models_that_are_served(zoo: Callable[[str], Path], shared_files: SharedFiles, tmp_path: Path) -> None:
    assert tried(zoo("doc_model")) == Tried(whole=True)
    assert tried(zoo("embedding_tensor")) == Tried(whole=True)
    assert tried(hostile.write("loud", tmp_path)) == Tried(whole=True)
    folder = folders.made(shared_files, ["topics"])["topics"]
    assert tried(f"{folder},precision=int8") == Tried(whole=False)
    assert Trials(FAST).run(f"{folder},precision=int8", FAST, of_hub=True) == Tried(whole=False)


def test_a_module_that_cannot_be_served_is_refused_as_ever(zoo: Callable[[str], Path]) -> None:
    assert "pixels" in refusal(zoo("foreign_input"))
    assert "there is no device cuda:99" in refusal(zoo("doc_model"), device="cuda:99")


def test_a_module_that_ends_its_process(tmp_path: Path) -> None:
    path = hostile.write("overflowing", tmp_path)
    assert refusal(path).startswith("it ends the process in which it is tried, by SIGFPE")


def test_a_module_that_does_not_end(tmp_path: Path) -> None:
    reason = "its trial did not end within 4 s (setting model_trial_s)"
    assert refusal(hostile.write("endless", tmp_path), model_trial_s=4) == reason


def test_a_module_that_takes_all_memory(tmp_path: Path) -> None:
    assert "(setting model_trial_bytes)" in refusal(hostile.write("greedy", tmp_path))


def test_a_tokenizer_that_takes_all_memory(shared_files: SharedFiles, tmp_path: Path) -> None:
    """Each step of its normaliser makes ten letters of one."""
    folder = shutil.copytree(folders.made(shared_files, ["topics"])["topics"], tmp_path / "model")
    content = forms.read_json(folder / "tokenizer.json")
    step = {"type": "Replace", "pattern": {"String": "l"}, "content": "l" * 10}
    content["normalizer"] = {"type": "Sequence", "normalizers": [step] * 12}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = forms.read_json(folder / "tokenizer_config.json")
    forms.write_json(folder / "tokenizer_config.json", config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert "(setting model_trial_bytes)" in refusal(folder, model_trial_bytes=512 << 20)
