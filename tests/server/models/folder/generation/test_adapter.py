"""LoRA adapters as peft saves them: what they add, and what is refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ext import _generator
from server.config import Settings
from server.errors import ModelError
from server.models import kinds
from server.models.folder.generation import generator_folder
from server.models.options import NO_OPTIONS
from tests.support.folders import language_models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.folders.table import Row
    from tests.support.shared import SharedFiles

# peft asks transformers in its older words
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")]

ROWS = {row.name: row for row in language_models.ROWS}
TOKENS = list(range(5, 45))
HELP = "merge_and_unload"


def write_adapter(base: Path, path: Path, **options: Any) -> Any:
    """An adapter of random weights, saved; what transformers' model with the adapter merged gives: the logits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    usual: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 6, "init_lora_weights": False}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**usual | options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(path)
    with torch.inference_mode():
        return model.merge_and_unload().eval()(torch.tensor([TOKENS])).logits[0].numpy()


def logits(path: Path) -> Any:
    folder = generator_folder.read(path, NO_OPTIONS)
    content = _generator.text_logits(
        folder.config, folder.weights.files, folder.weights.tensors, TOKENS, adapter=folder.adapter
    )
    return np.frombuffer(content, np.float32).reshape(len(TOKENS), -1)


@pytest.fixture(scope="session")
def folder_of(shared_files: SharedFiles) -> Any:
    def folder(row: Row) -> Path:
        def write(path: Path) -> None:
            path.mkdir()
            row.write(path)

        return shared_files.made(f"adapted/{row.name.replace(' ', '-')}", write)

    return folder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Llama", {"target_modules": ["q_proj", "v_proj", "down_proj"]}),
        ("Llama", {"target_modules": "all-linear", "use_rslora": True, "rank_pattern": {"q_proj": 2}}),
        ("Llama", {"target_modules": ["k_proj"], "modules_to_save": ["lm_head"]}),
        ("GPT-2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    ],
)
def test_an_adapter_is_added(name: str, options: dict[str, Any], folder_of: Any, tmp_path: Path) -> None:
    base = folder_of(ROWS[name])
    right = write_adapter(base, tmp_path / "adapter", **options)
    found = logits(tmp_path / "adapter")
    assert np.abs(found - right).max() <= 1e-4
    assert np.abs(found - logits(base)).max() > 0.1


async def test_an_adapter_is_served(folder_of: Any, tmp_path: Path) -> None:
    base = folder_of(ROWS["Llama"])
    write_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    model = await kinds.load(f"{tmp_path / 'adapter'},precision=bfloat16", Settings())
    await model.close()
    assert model.details["adapter"] == "adapter"
    assert model.details["architecture"] == "llama"


def changed(path: Path, **fields: Any) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


BREAKS: dict[str, Any] = {
    "base_model_name_or_path is 'no/where', and there is no such folder": lambda path: changed(
        path, base_model_name_or_path="no/where"
    ),
    "base_model_name_or_path does not say": lambda path: changed(path, base_model_name_or_path=None),
    "use_dora is True, which is not served": lambda path: changed(path, use_dora=True),
    "peft_type is 'IA3', which is not served": lambda path: changed(path, peft_type="IA3"),
    "task_type is 'SEQ_CLS', which is not served": lambda path: changed(path, task_type="SEQ_CLS"),
    "bias is 'all', which is not served": lambda path: changed(path, bias="all"),
    "lora_alpha: expected a number, got 'x'": lambda path: changed(path, lora_alpha="x"),
    "there is no adapter_model.safetensors": lambda path: (path / "adapter_model.safetensors").unlink(),
    "adapter_model.safetensors": lambda path: (path / "adapter_model.safetensors").write_bytes(b"short"),
}


@pytest.mark.parametrize("message", BREAKS)
async def test_what_is_refused(message: str, folder_of: Any, tmp_path: Path) -> None:
    write_adapter(folder_of(ROWS["Llama"]), tmp_path / "adapter", target_modules=["q_proj"])
    BREAKS[message](tmp_path / "adapter")
    with pytest.raises(ModelError) as caught:
        await kinds.load(tmp_path / "adapter", Settings())
    assert message in str(caught.value)
    assert ("which is not served" not in message and "base_model" not in message) or HELP in str(caught.value)


async def test_an_adapter_of_another_model(folder_of: Any, tmp_path: Path) -> None:
    write_adapter(folder_of(ROWS["Llama"]), tmp_path / "adapter", target_modules=["q_proj"])
    base = shutil.copytree(folder_of(ROWS["GPT-2"]), tmp_path / "adapter" / "base")
    changed(tmp_path / "adapter", base_model_name_or_path=base.name)
    with pytest.raises(ModelError, match="is for a weight that the base model has not"):
        await kinds.load(tmp_path / "adapter", Settings())
