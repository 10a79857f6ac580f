import enum
from collections.abc import Mapping, Sequence

from ext._native import NativeEngine, Place

# (of all tokens of the prompt but the first, of new tokens); of each (token, logprob, the likeliest with theirs)
Score = tuple[int, float, list[tuple[int, float]]]
Scores = tuple[list[Score], list[Score]]

class ModelError(ValueError): ...

class FinishReason(enum.IntEnum):
    """Why a text ended. As the contract's FinishReason."""

    LENGTH = ...
    STOP = ...
    END_OF_TEXT = ...
    DEADLINE = ...

def architectures() -> list[str]:
    """The values of model_type in config.json that generate text."""

class TextGenerator(NativeEngine):
    """A model of a Hugging Face folder that generates text step by step."""

    def __init__(
        self,
        config: Mapping[str, object],
        files: Sequence[str],
        weights: Mapping[str, Place],
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
    def positions(self) -> int:
        """The same in a cache with room for all of them."""
    @property
    def page_bytes(self) -> int:
        """Of the KV cache, for 16 tokens."""
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
        options: Mapping[str, object],
        lane: int,
        deadline_ns: int,
        tag: object,
        flow: int = 0,
    ) -> int:
        """`options`: those of GenerationOptions by their names, and `streamed`; what is left out changes nothing."""
    def bytes_of(self, token: int) -> bytes:
        """What the token writes; nothing for those that are not shown."""
    def progress(self) -> list[tuple[int, str, int, Scores | None]]: ...

class StepBudget:
    def prompt_tokens(self, decoding: int) -> int: ...
    def measured(self, decoding: int, prompt_tokens: int, ns: int) -> None: ...

def text_logits(
    config: Mapping[str, object],
    files: Sequence[str],
    weights: Mapping[str, Place],
    tokens: Sequence[int],
    chunk: int = 512,
    **execution: object,
) -> bytes: ...
def give_back_memory() -> None: ...
def uniform(seed: int, index: int) -> float: ...
