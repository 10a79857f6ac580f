"""Folders that GPTQ and AWQ have quantised give the texts of the numbers in them, and bad ones are refused by name."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from server.config import Settings
from server.errors import ModelError
from server.models import kinds
from tests.server.models.folder.tokenizers import change
from tests.support.folders import generated, language_models, quantised, served
from tests.support.folders.quantised import Form

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

PROMPTS = 4
SIZES = {"hidden_size": 64, "intermediate_size": 128}
FORMS = {
    "gptq": Form("gptq", 32),
    "gptq, all inputs together": Form("gptq", -1, checkpoint_format=None),
    "gptq, zeros, in the order of activations": Form("gptq", 32, symmetric=False, act_order=True),
    "gptq_v2, zeros": Form("gptq", 64, symmetric=False, checkpoint_format="gptq_v2"),
    "gptq, 8 bits": Form("gptq", 32, bits=8, symmetric=False),
    "awq": Form("awq", 32, symmetric=False),
    "awq, groups that do not come out even": Form("awq", 48, symmetric=False),
}
ROUNDED_AGAIN = 0.1  # nats that the next token's distribution may move in int4, where numbers stay what they are
NAME = "model.layers.1.mlp.up_proj"


def write(path: Path, form: Form, name: str = "Llama") -> None:
    """Folders: floats, the quantised one, and the floats that it stands for."""
    (row,) = (row for row in language_models.ROWS if row.name == name)
    dataclasses.replace(row, fields=row.fields | SIZES).write(path / "floats")
    quantised.write(path / "floats", path / "quantised", form, path / "reference")


def test_packed_numbers_are_those_that_were_packed() -> None:
    """By hand: the words of one matrix, as the layouts say."""
    weight = np.arange(128, dtype=np.float32).reshape(16, 8) / 16
    parts = quantised.quantise(weight, Form("gptq", -1, symmetric=False), 0)
    words = quantised.packed(parts, Form("gptq", -1, symmetric=False))
    assert words["qweight"].shape == (1, 16)
    assert int(words["qweight"].view(np.uint32)[0, 3]) >> 4 * 5 & 15 == parts.numbers[5, 3]
    assert int(words["qzeros"].view(np.uint32)[0, 1]) >> 4 * 2 & 15 == (parts.zeros[0, 10] - 1) % 16
    words = quantised.packed(parts, Form("awq", -1, symmetric=False))
    assert words["qweight"].shape == (8, 2)
    assert int(words["qweight"].view(np.uint32)[5, 1]) >> 4 * 1 & 15 == parts.numbers[5, 8 + 2]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_texts_are_those_of_the_numbers(form: Form, tmp_path: Path) -> None:
    write(tmp_path, form)
    right = generated.wanted(tmp_path / "reference", PROMPTS)
    clear = generated.clear(right.texts)
    assert len(clear) > PROMPTS // 2
    async with served.loaded(tmp_path / "quantised") as model:
        answers = await generated.given(model, [text.prompt for text in clear])
        assert model.details["weights"] == f"{form.method.upper()}, {form.bits} bits"
    for text, answer in zip(clear, answers, strict=True):
        assert answer.generated == text.generated, text.prompt
    assert generated.error(tmp_path / "quantised", right, "float32") <= generated.MOST_ROUNDING


@pytest.mark.parametrize("name", ["Qwen2", "Phi-3"])
async def test_biases_and_what_is_fused(name: str, tmp_path: Path) -> None:
    write(tmp_path, FORMS["gptq"], name)
    right = generated.wanted(tmp_path / "reference", 2)
    assert generated.error(tmp_path / "quantised", right, "float32") <= generated.MOST_ROUNDING


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read only."""
    path = tmp_path_factory.mktemp("grouped")
    write(path, FORMS["gptq"])
    return path


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to change, with the one of floats beside it."""
    return shutil.copytree(written, tmp_path / "copy") / "quantised"


def test_symmetric_numbers_of_4_bits_stay_what_they_are_in_int4(written: Path) -> None:
    """Floats are rounded by more than a matrix whose numbers have 4 bits already."""
    of_numbers = generated.error(written / "quantised", generated.wanted(written / "reference", 2), "int4")
    of_floats = generated.error(written / "floats", generated.wanted(written / "floats", 2), "int4")
    assert of_numbers < of_floats / 2


def configure(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, "config.json", quantization_config=FORMS["gptq"].config | fields)


def alter(name: str, change_: Callable[[Any], Any]) -> Callable[[Path], None]:
    """The tensor changed; None takes it away."""

    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        changed = change_(tensors.pop(f"{NAME}.{name}"))
        save_file(tensors | ({} if changed is None else {f"{NAME}.{name}": changed}), folder / "model.safetensors")

    return edit


BREAKS: dict[str, Callable[[Path], None]] = {
    "(gptq, 3 bits; quantization_config in config.json), which is not read where bits is 3": configure(bits=3),
    "where checkpoint_format is 'marlin'": configure(checkpoint_format="marlin"),
    "where dynamic says otherwise of some layers": configure(dynamic={"-:.*": {}}),
    "quantization_config: group_size: expected -1, or a size, got 0": configure(group_size=0),
    "where version is 'gemv'": configure(quant_method="awq", version="gemv"),
    "where zero_point is False": configure(quant_method="awq", zero_point=False),
    "there is no tensor NAME.qweight": lambda folder: change(
        folder.parent / "floats", "config.json", quantization_config=FORMS["gptq"].config
    ),
    f"there is no weight {NAME}.scales, which belongs to": alter("scales", lambda _: None),
    f"weight {NAME}.qzeros is of type I32 and shape [1, 16]; by quantization_config": alter("qzeros", lambda t: t[:1]),
    f"weight {NAME}.g_idx is of type I64": alter("g_idx", lambda t: t.astype(np.int64)),
    f"{NAME}.weight: input 0 is of group 7, and there are 2": alter("g_idx", lambda t: t + 7),
    f"{NAME}.weight: input 0 is of group -1": alter("g_idx", lambda t: t - 1),
    f"{NAME}.weight is of shape [128, 32]; by the configuration it must be [128, 64]": lambda folder: [
        alter("qweight", lambda t: t[:4])(folder),
        alter("g_idx", lambda t: t[:32])(folder),
        alter("qzeros", lambda t: t[:1])(folder),
        alter("scales", lambda t: t[:1])(folder),
    ],  # type: ignore[dict-item]
    "numbers that are not finite": alter("scales", lambda t: t * np.float16(np.nan)),
}


@pytest.mark.parametrize("message", BREAKS)
async def test_what_is_not_served(folder: Path, message: str) -> None:
    BREAKS[message](folder)
    path = folder.parent / "floats" if "NAME.qweight" in message else folder
    with pytest.raises(ModelError) as caught:
        await kinds.load(path, Settings())
    assert message in str(caught.value)
