import enum
from collections.abc import Mapping, Sequence

from ext._native import NativeEngine

class ModelError(ValueError): ...

class FinishReason(enum.IntEnum):
    """Why a text ended. As the contract's FinishReason."""

    LENGTH = ...
    STOP = ...
    END_OF_TEXT = ...

def architectures() -> list[str]:
    """The values of model_type in config.json that generate text."""

class TextGenerator(NativeEngine):
    """A model of a Hugging Face folder that generates text step by step."""

    def __init__(
        self,
        config: Mapping[str, object],
        files: Sequence[str],
        weights: Mapping[str, tuple[int, str, Sequence[int], int, int]],
        token_bytes: Sequence[bytes],
        ends: Sequence[int],
        **settings: object,
    ) -> None:
        """`config`, `files`, `weights`: as EncoderEngine takes them. `token_bytes`: of each row of the vocabulary.

        The setting `adapter` adds to weights: name -> (place of the matrix down, place of that up, scale, turned).
        """
    @property
    def context(self) -> int:
        """Positions that one text may have, its prompt included."""
    @property
    def vocabulary(self) -> int: ...
    @property
    def pages(self) -> int:
        """Of the KV cache, 16 tokens each."""
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

def text_logits(
    config: Mapping[str, object],
    files: Sequence[str],
    weights: Mapping[str, tuple[int, str, Sequence[int], int, int]],
    tokens: Sequence[int],
    chunk: int = 512,
    **execution: object,
) -> bytes: ...
def give_back_memory() -> None: ...
def uniform(seed: int, index: int) -> float: ...
