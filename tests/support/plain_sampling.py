"""Sampling written down plainly: what the engine is to choose, a token at a time, from the logits of transformers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ext import _generator
from tests.support.generators import END_OF_TEXT, LENGTH, STOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Plain:
    """The options by the contract's names."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    min_tokens: int = 0
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    seed: int = 1

    def text(
        self, model: Any, prompt: Sequence[int], max_tokens: int, ends: Sequence[int] = ()
    ) -> tuple[list[int], int]:
        """(new tokens, finish reason) after the prompt, by a model of transformers."""
        generated: list[int] = []
        while len(generated) < max_tokens:
            with torch.inference_mode():
                logits = model(torch.tensor([[*prompt, *generated]])).logits[0, -1].double().numpy()
            token = self.choose(logits, prompt, generated, ends)
            generated.append(token)
            if token in ends and not self.ignore_eos:
                return generated, END_OF_TEXT
            if token in self.stop_token_ids:
                return generated, STOP
        return generated, LENGTH

    def choose(
        self, logits: NDArray[np.float64], prompt: Sequence[int], generated: Sequence[int], ends: Sequence[int]
    ) -> int:
        """The next token; of equally likely ones the first."""
        logits = self._changed(logits.copy(), prompt, generated)
        if len(generated) < self.min_tokens:
            logits[list({*self.stop_token_ids, *([] if self.ignore_eos else ends)})] = -np.inf
        if self.temperature == 0:
            return int(logits.argmax())
        weights = np.exp((logits - logits.max()) / self.temperature)
        order = np.argsort(-weights, kind="stable")
        kept = order[: self.top_k] if self.top_k else order
        if self.top_p < 1:
            sums = np.cumsum(weights[kept]) / weights[kept].sum()
            kept = kept[: int(np.searchsorted(sums, self.top_p)) + 1]
        kept = kept[weights[kept] >= self.min_p]
        if not self.top_k and self.top_p >= 1:
            kept = np.sort(kept)  # the draw goes through the vocabulary, not by likelihood
        sums = np.cumsum(weights[kept])
        chance = _generator.uniform(self.seed, len(generated)) * sums[-1]
        return int(kept[np.searchsorted(sums, chance, side="right")])

    def _changed(
        self, logits: NDArray[np.float64], prompt: Sequence[int], generated: Sequence[int]
    ) -> NDArray[np.float64]:
        for token, bias in self.logit_bias.items():
            logits[token] += bias
        if self.repetition_penalty != 1:
            for token in {*prompt, *generated}:
                penalty = self.repetition_penalty
                logits[token] = logits[token] * penalty if logits[token] < 0 else logits[token] / penalty
        for token, count in Counter(generated).items():
            logits[token] -= self.presence_penalty + self.frequency_penalty * count
        return logits
