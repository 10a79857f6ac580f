"""Folders of models that generate: which they are, their layouts, what a model says of itself, what is refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.folder.generation import generator_folder
from server.models.options import NO_OPTIONS, split_options
from tests.server.models.folder.tokenizers import change, write_config
from tests.server.waiting import error_of, result
from tests.support.folders import forms, generated, language_models, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

LLAMA, GEMMA = (next(row for row in language_models.ROWS if row.name == name) for name in ("Llama", "Gemma 3"))
PROMPT = "Every evening Anna"


@pytest.fixture(scope="session")
def llama(shared_files: SharedFiles) -> Path:
    """To be read only."""

    def write(path: Path) -> None:
        path.mkdir()
        LLAMA.write(path)

    return shared_files.made("generators/a-llama", write)


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(llama, tmp_path / "harbour")


async def answers(folder: Path, options: str = "") -> list[generated.Answer]:
    model: Any = await kinds.load(f"{folder}{options}", Settings())
    found = await generated.given(model, [PROMPT, "a"])
    await model.close()
    return found


# ------------------------------------------------------------------------------------------------- which folders


@pytest.mark.parametrize(
    ("config", "options", "generates"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "", True),
        ({"architectures": ["GPT2LMHeadModel"]}, "", True),
        ({"architectures": ["LlamaForCausalLM"]}, ",pooling=lasttoken", False),
        ({"architectures": ["LlamaForCausalLM"], "is_causal": False}, "", False),
        ({"architectures": ["LlamaForSequenceClassification"]}, "", False),
        ({"architectures": ["LlamaModel"]}, "", False),
        ({"architectures": ["T5WithLMHeadModel"]}, "", False),
        ({"architectures": ["T5ForConditionalGeneration"]}, "", False),
        ({}, "", False),
        ({"model_type": "llama"}, "", False),
        ({"model_type": "gpt2"}, "", True),
        ({"model_type": "gpt2", "architectures": ["GPT2Model"]}, "", False),
    ],
)
def test_which_folders_generate(tmp_path: Path, config: dict[str, Any], options: str, generates: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, given = split_options(f"{tmp_path}{options}")
    assert generator_folder.generates(tmp_path, given) == generates
    (tmp_path / "modules.json").write_text("[]")
    assert not generator_folder.generates(tmp_path, given)


async def test_a_pooling_makes_vectors_of_it(llama: Path) -> None:
    model: Any = await kinds.load(f"{llama},pooling=lasttoken", Settings())
    assert model.kind == "sentence-encoder"
    await model.close()


# -------------------------------------------------------------------------------------------------------- layouts


def in_two_folders(folder: Path) -> None:
    """As NLP-Microservice keeps them: local_model/NAME/{model,tokenizer}."""
    files = list(folder.iterdir())
    for name in ("model", "tokenizer"):
        (folder / name).mkdir()
    for file in files:
        file.rename(folder / ("tokenizer" if "token" in file.name else "model") / file.name)


def beside_others(folder: Path) -> None:
    """A whole file of the weights and one of half the precision, which its author wrote too."""
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight * 0 for name, weight in weights.items()}, folder / "model_fp16.safetensors")


@pytest.mark.parametrize("layout", [in_two_folders, beside_others, forms.in_shards, forms.in_torch_shards])
async def test_layouts(llama: Path, folder: Path, layout: Callable[[Path], None]) -> None:
    layout(folder)
    assert await answers(folder) == await answers(llama)


# ---------------------------------------------------------------------------------------------- what it says of itself


async def test_what_the_model_says_of_itself(folder: Path) -> None:
    change(folder, "generation_config.json", temperature=0.6, top_p=0.9, do_sample=True, eos_token_id=[2, 7])
    model: Any = await kinds.load(f"{folder},precision=bfloat16", Settings(slots=4, max_tokens=100))
    await model.close()
    assert model.kind == "text-generator"
    assert (model.limits.max_tokens, model.limits.max_output_tokens, model.limits.batch_items) == (100, 255, 4)
    assert model.details == {
        "architecture": "llama",
        "weights": "F32",
        "precision": "bfloat16",
        "context": "256",
        "vocabulary": str(json.loads((folder / "config.json").read_text())["vocab_size"]),
        "device": "cpu",
        "batch_invariant": "true",
        "default_temperature": "0.6",
        "default_top_p": "0.9",
    }
    assert (model.sampling_defaults.temperature, model.sampling_defaults.top_p) == (0.6, 0.9)


async def test_every_end_token_ends_a_text(llama: Path, folder: Path) -> None:
    (whole, _) = await answers(llama)
    change(folder, "generation_config.json", eos_token_id=[2, whole.generated[3]])
    (cut, _) = await answers(folder)
    assert cut.generated == whole.generated[: whole.generated.index(whole.generated[3]) + 1]


async def test_an_empty_prompt_begins_a_text(llama: Path) -> None:
    """The tokenizer's first token alone; and the text does not begin with a space, streamed or not."""
    async with served.loaded(llama) as model:
        tokens = await result(model.prompt_tokens("", generated.GREEDY))
        assert tokens == [1]
        text = (await result(model.generate(tokens, generated.GREEDY, served.context()))).text
        parts: list[str] = []
        streamed = model.generate(tokens, generated.GREEDY, served.context(), lambda part, *_: parts.append(part))
        last = await result(streamed)
        assert "".join(parts) + last.text == text
        raw = (await generated.given(model, [""]))[0].text
        assert text == raw.removeprefix(" ")
        begun = await result(model.prompt_tokens("a", generated.GREEDY))
        (other,) = await generated.given(model, ["a"])
        assert (await result(model.generate(begun, generated.GREEDY, served.context()))).text == other.text


async def test_a_token_that_the_model_does_not_know(folder: Path) -> None:
    """As a tokenizer's token for pictures, one over the vocabulary of a model that reads texts alone."""
    content = json.loads((folder / "tokenizer.json").read_text())
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    added = {**content["added_tokens"][0], "id": size, "content": "<picture>"}
    fill = [{**added, "id": id_, "content": f"<{id_}>"} for id_ in range(len(content["model"]["vocab"]), size)]
    content["added_tokens"] += [*fill, added]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    async with served.loaded(folder) as model:
        error = await error_of(model.prompt_tokens("a <picture>", generated.GREEDY))
        assert (error.code, error.field) == (ErrorCode.INVALID_ARGUMENT, "prompt")
        assert f"the token '<picture>' (id {size}) is over the {size} tokens that the model knows" in str(error)
        assert await result(model.prompt_tokens("a", generated.GREEDY))


# ------------------------------------------------------------------------------------------------------------- refusals


def spoil(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][5] = float("nan")
    save_file(weights, folder / "model.safetensors")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def miss_a_shard(folder: Path) -> None:
    forms.in_shards(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def configure(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, "config.json", **fields)


def adapter_alone(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


GPTQ = {"quant_method": "gptq", "bits": 3, "group_size": 128}
BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_4bit": True}
BREAKS: dict[str, Callable[[Path], Any]] = {
    "LlamaForCausalLM: text generation is not served for the architecture 'rwkv' (model_type": configure(
        model_type="rwkv"
    ),
    "the architecture 'bert' (model_type": configure(model_type="bert"),
    "name the folder with ,pooling=mean or another mode behind it": configure(model_type="bert"),
    "its weights are quantised already (gptq, 3 bits; quantization_config": configure(quantization_config=GPTQ),
    "(bitsandbytes, 4 bits; ": configure(quantization_config=BITSANDBYTES),
    "(fp8; quantization_config in config.json), which is not read": configure(
        quantization_config={"quant_method": "fp8"}
    ),
    "base_model_name_or_path does not say for which model the adapter is": adapter_alone,
    "config.json: vocab_size: expected a number from 1 to 16777216, got None": configure(vocab_size=None),
    "vocab_size: expected a number from 1 to 16777216, got -3": configure(vocab_size=-3),
    "eos_token_id is 99999, which is no token": lambda folder: change(
        folder, "generation_config.json", eos_token_id=99999
    ),
    "generation_config.json is no JSON": lambda folder: (folder / "generation_config.json").write_text("{"),
    "generation_config.json: typical_p is 0.2, which is not served": lambda folder: change(
        folder, "generation_config.json", typical_p=0.2
    ),
    "config.json has no hidden_size": configure(hidden_size=None),
    "is of shape": configure(intermediate_size=96),
    "there is no weight": configure(num_hidden_layers=4),
    "numbers that are not finite": spoil,
    "model.safetensors is damaged or cut short": cut,
    "which is not there; download all shards": miss_a_shard,
    "there are no weights in it": lambda folder: (folder / "model.safetensors").unlink(),
    "there is no tokenizer.json": lambda folder: (folder / "tokenizer.json").unlink(),
    "the tokenizer's decoder is none": lambda folder: (
        change(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
        change(folder, "tokenizer.json", decoder=None),
    ),
}


@pytest.mark.parametrize("message", BREAKS)
async def test_broken_folders_are_refused(folder: Path, message: str) -> None:
    BREAKS[message](folder)
    with pytest.raises(ModelError) as caught:
        await kinds.load(folder, Settings())
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{folder}: ")


async def test_a_cache_without_room(llama: Path) -> None:
    least = r"has 100 bytes \(setting cache_bytes\); this model needs at least 24576, for 32 tokens"
    with pytest.raises(ModelError, match=least):
        await kinds.load(llama, Settings().model_copy(update={"cache_bytes": 100}))


async def test_a_cache_for_less_than_a_text(llama: Path) -> None:
    """What does not fit is refused with the setting, and the bytes that it needs."""
    async with served.loaded(llama, cache_bytes=1 << 16) as model:
        assert model.details["context"] == "80"
        asked = generated.GREEDY._replace(max_tokens=90, prompt_token_ids=[5] * 10)
        error = await error_of(model.prompt_tokens("", asked))
        assert (error.code, error.setting) == (ErrorCode.TOO_LARGE, "cache_bytes")
        assert "10 tokens and 90 new ones (max_tokens) need 86016 bytes of the cache" in str(error)
        error = await error_of(model.prompt_tokens("a b " * 60, generated.GREEDY))
        assert (error.code, error.setting) == (ErrorCode.TOO_LARGE, "cache_bytes")
        asked = generated.GREEDY._replace(max_tokens=300, prompt_token_ids=[5] * 10)
        error = await error_of(model.prompt_tokens("", asked))
        assert (error.setting, "are more than the model's 256 positions" in str(error)) == (None, True)


async def test_what_may_be_ignored(folder: Path) -> None:
    change(folder, "generation_config.json", typical_p=0.2)
    change(folder, "config.json", something_new=3)
    assert await answers(folder, ",ignore=typical_p+something_new")


def test_a_folder_that_says_nothing_of_its_class(tmp_path: Path) -> None:
    write_config(tmp_path, "llama")
    assert not generator_folder.generates(tmp_path, NO_OPTIONS)
