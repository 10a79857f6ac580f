"""Models of transformers that the server does not know, for tests of what their own tools make of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch

from tests.support.folders import heads, served

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.models.folder.conftest import Made
    from tests.support.folders.table import Row

EXACT, EXACT_LOGITS = 1e-6, 1e-4


def largest_error(row: Row, found: list[Any], right: list[Any]) -> float:
    """As a share of what is allowed."""
    return served.error(row, found, right) / (EXACT if served.is_of_vectors(row.kind) else EXACT_LOGITS)


def plain(folder: Path) -> None:
    heads.transformer(folder, "ernie")


def classifier(folder: Path) -> None:
    heads.classifier(folder, "ernie")


def tagger(folder: Path) -> None:
    heads.tagger(folder, "ernie")


def without_weights(made: Made, tmp_path: Path) -> Path:
    folder = shutil.copytree(made(plain), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    return folder


class Named(torch.nn.Module):
    """A model of transformers as a function of three tensors."""

    def __init__(self, folder: Path, kind: str) -> None:
        import transformers

        super().__init__()
        self.model = getattr(transformers, kind).from_pretrained(folder).eval()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        given = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        first: torch.Tensor = given[0]
        return first


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One text is padded: with none, transformers leaves the mask out of what it computes, and of what is traced."""
    ids, mask = torch.full((2, 9), 7), torch.ones((2, 9), dtype=torch.long)
    mask[1, 5:] = 0
    return ids, mask, torch.zeros_like(ids)
