"""CTranslate2 in this process: whole batches, which nothing joins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.language_models import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.language_models.engines import Tokens


def computes(precision: str) -> bool:
    """Whether it has this precision on this processor."""
    import ctranslate2

    return precision in ctranslate2.get_supported_compute_types("cpu")


class CTranslate2:
    """An `Engine`."""

    name = "CTranslate2"

    def __init__(self, shape: str, precision: str, threads: int) -> None:
        import ctranslate2

        folder = str(models.ctranslate2_folder(shape))
        self._generator = ctranslate2.Generator(folder, device="cpu", compute_type=precision, intra_threads=threads)
        self._names = models.token_names(shape)

    def texts(self, prompts: Sequence[Tokens], count: int) -> tuple[list[Tokens], float]:
        """See Engine."""
        begin = time.perf_counter()
        results = self._generator.generate_batch(
            [[self._names[token] for token in tokens] for tokens in prompts],
            max_length=count,
            min_length=count,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        taken = time.perf_counter() - begin
        return [result.sequences_ids[0] for result in results], taken

    def close(self) -> None:
        """See Engine."""
        self._generator.unload_model()
