"""Small models as packages of AOTInductor (.pt2), each compiled once a run.

    python -m tests.support.exports NAME FOLDER

writes the folder source(FOLDER) by transformers or sentence-transformers, and from it FOLDER by
scripts/export_model.py; "own" is what somebody makes by torch's own functions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import export_model
from tests.support.folders import heads, table, vocabularies
from tests.support.folders.table import Row

if TYPE_CHECKING:
    import torch

ROWS = {
    "encoder": Row(
        "ernie",
        table.VECTORS,
        "ERNIE",
        "mean",
        lambda folder: heads.sentence_encoder(
            folder, "ernie", "mean", ["Tanh", "normalize"], options={"prompts": heads.PROMPTS}
        ),
        basic=True,
    ),
    "reranker": Row(
        "ernie reranker", table.SCORES, "ERNIE", "sigmoid", lambda folder: heads.reranker(folder, "ernie"), basic=True
    ),
}
"""What the script exports."""

OWN_TOKENS, OWN_LENGTH, OWN_SIZE = 700, 40, 12
"""Of the module "own": what its tables have."""


def source(folder: Path) -> Path:
    """What an exported folder was made from."""
    return folder.with_name(f"{folder.name}-source")


def own_module() -> torch.nn.Module:
    """A vector for each text: the mean of its tokens and of what it is filled up with, as it does not ask the mask."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.tokens = torch.nn.Embedding(OWN_TOKENS, OWN_SIZE)
            self.places = torch.nn.Embedding(OWN_LENGTH, OWN_SIZE)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            places = torch.arange(input_ids.shape[1])
            return torch.tanh(self.tokens(input_ids) + self.places(places)).mean(1)

    return Module().eval()


def write_own(folder: Path) -> None:
    """By keyword, and in another order than the server's, as nobody keeps one from it."""
    import torch
    import torch._inductor

    texts, length = torch.export.Dim("texts"), torch.export.Dim("length", max=OWN_LENGTH)
    ids = torch.zeros((2, 5), dtype=torch.long)
    inputs = {"attention_mask": torch.ones_like(ids), "input_ids": ids}
    shapes = {name: {0: texts, 1: length} for name in inputs}
    with torch.no_grad():
        program = torch.export.export(own_module(), (), inputs, dynamic_shapes=shapes)
        folder.mkdir()
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "model.pt2"))
    describe_own(folder)


def describe_own(folder: Path, vocabulary: int = OWN_TOKENS, longest: int = OWN_LENGTH) -> None:
    """What lies beside the package."""
    vocabularies.bert(model_max_length=longest).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocabulary}), encoding="utf-8")


def main(name: str, folder: Path) -> int:
    """Write one; the exit status."""
    if name == "own":
        write_own(folder)
        return 0
    ROWS[name].write(source(folder))
    return export_model.main([str(source(folder)), str(folder)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
