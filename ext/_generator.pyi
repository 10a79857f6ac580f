import enum
from collections.abc import Sequence
from typing import Any

from ext._native import NativeEngine

class ModelError(ValueError): ...

class FinishReason(enum.IntEnum):
    """Why a text ended. As the contract's FinishReason."""

    LENGTH = ...
    STOP = ...
    END_OF_TEXT = ...

class GeneratorEngine(NativeEngine):
    def __init__(
        self,
        sizes: dict[str, Any],
        weights: dict[str, tuple[str, list[int], bytes | bytearray]],
        token_bytes: list[bytes],
        ends: list[int],
        **settings: object,
    ) -> None: ...
    @property
    def batch_invariant(self) -> bool: ...
    def submit(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        repetition_penalty: float,
        stops: Sequence[str],
        seed: int,
        streamed: bool,
        lane: int,
        deadline_ns: int,
        tag: object,
    ) -> int: ...
    def progress(self) -> list[tuple[int, str, int]]: ...

def read_logits(
    sizes: dict[str, Any],
    weights: dict[str, tuple[str, list[int], bytes | bytearray]],
    tokens: Sequence[int],
    **execution: object,
) -> bytes: ...
def give_back_memory() -> None: ...
def uniform(seed: int, index: int) -> float: ...
