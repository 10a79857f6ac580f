"""Folders whose model is a TorchScript trace, beside what transformers says."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from server.errors import ModelError
from server.models.requests import Reading
from tests.server.models.folder.unknown_models import (
    Named,
    classifier,
    example,
    largest_error,
    plain,
    tagger,
    without_weights,
)
from tests.server.waiting import result
from tests.support.folders import served, table
from tests.support.folders.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.models.folder.conftest import Made, Open

    Exported = Callable[[str], Path]

pytestmark = pytest.mark.slow


def trace(folder: Path, kind: str) -> None:
    """torch.jit.trace of the model of transformers in the folder, whose weights go."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and reads deprecated properties
        traced = torch.jit.trace(Named(folder, kind), example(), strict=False)
    traced.save(str(folder / "model.pt"))
    (folder / "model.safetensors").unlink()


TRACED = {
    "AutoModel": Row("trace", table.VECTORS, "ERNIE", "mean", plain),
    "AutoModelForSequenceClassification": Row("trace", table.CLASSES, "ERNIE", "softmax", classifier),
    "AutoModelForTokenClassification": Row("trace", table.TOKEN_CLASSES, "ERNIE", "BIO", tagger),
}


@pytest.mark.parametrize("kind", TRACED)
async def test_a_trace_answers_as_transformers_does(kind: str, made: Made, opened: Open, tmp_path: Path) -> None:
    row = TRACED[kind]
    source = made(row.write)
    folder = shutil.copytree(source, tmp_path / "model")
    trace(folder, kind)
    model = await opened(folder)
    assert model.details["program"] == "TorchScript trace"
    assert not model.equal_lengths_only
    found = await served.given(row, model)
    assert largest_error(row, found, served.wanted(row, source)) <= 1


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        ("self, ids: Tensor", r"its forward takes .ids.; expected tensors .input_ids, attention_mask."),
        ("self, ids: Tensor, mask: Tensor, types: Tensor, more: Tensor", "its forward takes .ids, mask, types, more."),
        ("self, ids: Tensor, mask: int", "its forward takes .ids, mask."),
        ("self, ids: Tensor, mask: Optional[Tensor] = None", "its forward takes .ids, mask."),
    ],
)
async def test_modules_that_take_something_else(
    forward: str, reason: str, tmp_path: Path, made: Made, opened: Open
) -> None:
    folder = without_weights(made, tmp_path)
    save_script(folder / "traced_model.pt", f"def forward({forward}):\n    return ids.float().unsqueeze(-1)\n")
    with pytest.raises(ModelError, match=f"traced_model.pt: {reason}"):
        await opened(folder)


@pytest.mark.parametrize(
    ("result_", "reason"),
    [
        ("'text'", "the model gave a str; expected a tensor, or a tuple that begins so"),
        ("ids", r"gives whole numbers; expected real ones"),
        ("torch.ones(1)[ids]", "it fails on token ids of"),
    ],
)
async def test_modules_that_give_something_else(
    result_: str, reason: str, tmp_path: Path, made: Made, opened: Open
) -> None:
    folder = without_weights(made, tmp_path)
    save_script(folder / "model.pt", f"def forward(self, ids: Tensor, mask: Tensor):\n    return {result_}\n")
    with pytest.raises(ModelError, match=f"model.pt: .*{reason}"):
        await opened(folder)


@pytest.mark.parametrize("result_", ["(rows, ids)", "{'last_hidden_state': rows}"])
async def test_modules_that_give_more_than_a_tensor(result_: str, tmp_path: Path, made: Made, opened: Open) -> None:
    folder = without_weights(made, tmp_path)
    body = f"rows = (ids * mask).float().unsqueeze(-1)\n    return {result_}"
    save_script(folder / "model.pt", f"def forward(self, ids: Tensor, mask: Tensor):\n    {body}\n")
    model = await opened(folder)
    assert np.frombuffer(await result(model.embed("", Reading(), served.context())), "<f4") == pytest.approx(2.5)


async def test_a_trace_that_is_cut(tmp_path: Path, made: Made, opened: Open) -> None:
    folder = shutil.copytree(made(plain), tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model.pt")
    with pytest.raises(ModelError, match=r"model.pt: no TorchScript file"):
        await opened(folder)


def save_script(path: Path, code: str) -> None:
    """torch.jit.script reads the source of a file."""
    lines = [
        "import torch",
        "from typing import Optional",
        "from torch import Tensor",
        "class Module(torch.nn.Module):",
    ]
    source = path.parent.parent / "module.py"
    source.write_text("\n".join([*lines, *(f"    {line}" for line in code.splitlines())]))
    spec = importlib.util.spec_from_file_location("module", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(module.Module()).save(str(path))
