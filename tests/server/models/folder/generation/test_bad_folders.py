"""Folders with something wrong in them: each is refused with a reason, or answers; none is a crash or never ends."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from server.config import Settings
from server.errors import ErrorCode, ModelError, PredictionError
from server.models import kinds
from tests.server.models.folder.tokenizers import change
from tests.server.waiting import error_of, result
from tests.support.folders import generated, language_models, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

ROWS = {row.name: row for row in language_models.ROWS}
OTHERS = (None, -1, 0, 1, 7, 1 << 40, 1e30, True, "x", [], {}, [1, "x", None])
FEW = generated.GREEDY._replace(max_tokens=4)
NAMED = ("config", "weight ", "a text is refused: ")
FIELDS = [
    *("architectures", "attention_bias", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim"),
    *("hidden_act", "hidden_size", "initializer_range", "intermediate_size", "max_position_embeddings", "mlp_bias"),
    *("model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id"),
    *("pretraining_tp", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "use_cache", "vocab_size"),
]


def _written(shared_files: SharedFiles, name: str) -> Path:
    def write(path: Path) -> None:
        path.mkdir()
        ROWS[name].write(path)

    return shared_files.made(f"generators/bad-{name}", write)


@pytest.fixture(scope="module")
def llama(shared_files: SharedFiles) -> Path:
    return _written(shared_files, "Llama")


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(llama, tmp_path / "harbour")


async def refusal_of(folder: Path) -> str | None:
    """Why it is refused when it is loaded, or when it is asked; None: it answers."""
    try:
        async with served.loaded(folder) as model:
            if model.kind != "text-generator":
                return None
            tokens = await model.prompt_tokens("Every evening", FEW)
            answer = await result(model.generate(tokens, FEW, served.context()))
            assert len(answer.text.encode()) < 1000
            return None
    except ModelError as error:
        return str(error)
    except PredictionError as error:
        return f"a text is refused: {error}"


@pytest.mark.parametrize("field", FIELDS)
async def test_a_field_of_config_json_that_is_another(folder: Path, field: str) -> None:
    given = json.loads((folder / "config.json").read_text())
    for other in OTHERS:
        change(folder, "config.json", **{field: other})
        reason = await refusal_of(folder)
        assert reason is None or any(part in reason for part in (field, *NAMED)), (other, reason)
    given.pop(field, None)
    (folder / "config.json").write_text(json.dumps(given))
    reason = await refusal_of(folder)
    assert reason is None or any(part in reason for part in (field, *NAMED)), reason


def test_the_fields_are_those_of_the_folder(llama: Path) -> None:
    given = json.loads((llama / "config.json").read_text())
    assert set(given) - {"transformers_version"} <= set(FIELDS)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "is not there": lambda _: None,
    "has a row less": lambda weight: weight[:-1].clone(),
    "has a dimension more": lambda weight: weight[None].clone(),
    "is empty": lambda weight: weight[:0].clone(),
    "is of whole numbers": lambda weight: weight.long(),
    "is of bytes": lambda weight: weight.to(torch.uint8),
    "is NaN": lambda weight: weight * torch.nan,
    "is infinite": lambda weight: weight + torch.inf,
}
WEIGHTS = ["embed_tokens", "layers.1.self_attn.k_proj", "layers.0.mlp.down_proj", "layers.2.input_layernorm", "norm"]


@pytest.mark.parametrize("changed", CHANGES)
async def test_a_weight_that_is_another(folder: Path, changed: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name in [*(f"model.{weight}.weight" for weight in WEIGHTS), "lm_head.weight"]:
        other = CHANGES[changed](tensors[name])
        rest = {each: tensor for each, tensor in tensors.items() if each != name}
        save_file(rest | ({} if other is None else {name: other}), folder / "model.safetensors")
        with pytest.raises(ModelError) as caught:
            await kinds.load(folder, Settings())
        reason = str(caught.value)
        assert (
            name.removeprefix("model.") in reason
            or "numbers that are not finite" in reason
            or "model.safetensors" in reason
        ), name


async def test_a_row_of_embeddings_that_is_not_a_number(folder: Path) -> None:
    """It is not looked at before a text needs it: then that text fails, and others do not."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][40] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    async with served.loaded(folder) as model:
        for tokens in ([5, 40, 6], [5, 41, 6]):
            asked = FEW._replace(prompt_token_ids=tokens)
            prompt = await model.prompt_tokens("", asked)
            answer = model.generate(prompt, asked, served.context())
            if 40 in tokens:
                assert (await error_of(answer)).code == ErrorCode.INTERNAL
            else:
                assert (await result(answer)).token_count


@pytest.mark.parametrize("other", ["Qwen2", "Phi-3", "GPT-2", "Llama: unigrams"])
async def test_the_tokenizer_of_another_model(shared_files: SharedFiles, folder: Path, other: str) -> None:
    """What its tokens mean no file says; those over the vocabulary are refused by their names."""
    for file in _written(shared_files, other).iterdir():
        if "token" in file.name or file.name in ("vocab.json", "merges.txt"):
            shutil.copy(file, folder)
    reason = await refusal_of(folder)
    assert reason is None or "token" in reason


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
async def test_files_that_are_cut_short_or_something_else(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:-2], b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000):
        (folder / name).write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            await kinds.load(folder, Settings())
        assert name in str(caught.value), damaged[:10]
