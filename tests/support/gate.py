"""A TorchScript model whose batches end when the test says so."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from tests.support.zoo import TokenModel, save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATE_PATIENCE_S = 60  # so that a test that fails ends


class Gated(TokenModel):
    """Its batches end when the test lets them, by a file that both have mapped: see Gate."""

    def __init__(self, gate: Path) -> None:
        super().__init__()
        self.gate = str(gate)
        self.patience = GATE_PATIENCE_S * 1_000_000_000

    def pass_gate(self, documents: int) -> None:
        shared = torch.from_file(self.gate, True, min(2, 1 + documents), dtype=torch.long)  # no constant to be folded
        shared[1] += 1
        end = torch.ops.prim.TimePoint() + self.patience
        while int(shared[0]) == 0 and torch.ops.prim.TimePoint() < end:
            pass

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        self.pass_gate(len(tokens))
        return self.scorer(tokens)


class Gate:
    """What holds a gated model's batches, in whatever process it runs. It is open until it is closed."""

    def __init__(self, folder: Path, model: type[Gated] = Gated) -> None:
        shared = folder / "gate"
        self._shared = torch.from_file(str(shared), True, 2, dtype=torch.long)
        self.open()
        self.path = save(model(shared), folder / "gated.pt")

    def open(self) -> None:
        """Lets batches end."""
        self._shared[0] = 1

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """No batch ends in this block before `open`."""
        self._shared.zero_()
        try:
            yield
        finally:
            self.open()

    @property
    def batches(self) -> int:
        """How many have begun since it was closed."""
        return int(self._shared[1])
