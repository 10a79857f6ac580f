from collections.abc import Callable, Mapping, Sequence
from typing import Self

from ext._native import NativeEngine, Place

class ModelError(ValueError): ...

def architectures() -> list[str]:
    """The values of model_type in config.json that are served."""

class Program:
    """A model that other tools made a program of: token ids of padded texts and a mask to numbers. Its constructors run
    it on two small batches, and raise ModelError when it fails.

    `padding_id`: the token that texts are filled up with.
    """

    @staticmethod
    def package(path: str, device: str, runners: int, padding_id: int) -> Program:
        """AOTInductor's package (.pt2), whose native code is loaded; `runners` may run at the same time."""
    @staticmethod
    def trace(path: str, device: str, padding_id: int) -> Program:
        """A TorchScript module of (input_ids, attention_mask), or with token_type_ids as well."""
    @staticmethod
    def python(run: Callable[[memoryview, memoryview, memoryview], object], padding_id: int) -> Program:
        """`run(ids, mask, types)`, from any thread: int64 [texts, length], no longer valid after it.

        It gives a buffer of float32, row after row: [texts, length, n] or [texts, n].
        """
    @property
    def of_tokens(self) -> bool:
        """Whether it gives a row for each token, else for each text."""
    @property
    def columns(self) -> int:
        """Numbers of a row."""
    def try_text(self, id: int, length: int) -> None:  # noqa: A002
        """Run it on a text of `length` times this token. Raises ModelError when it fails; a package may crash."""

class EncoderEngine(NativeEngine):
    """A model that reads whole texts."""

    def __init__(
        self,
        config: Mapping[str, object],
        files: Sequence[str],
        weights: Mapping[str, Place],
        head: Mapping[str, object],
        **settings: object,
    ) -> None:
        """`config`: config.json. `weights`: name -> (index in `files`, type, shape, offset in bytes, size in bytes).

        `head`, by its "output":
        "vector": a vector for a text; "modules" in their order, {"type": "pooling", "modes": [...]},
        {"type": "dense", "weights": NAME, "activation": ...}, {"type": "layer_norm", "weights": NAME, "epsilon": ...},
        {"type": "normalize"}.
        "token_vectors": one for each token; "modules" without a pooling.
        "classes", "token_classes": scores of "labels" classes, of a text or of each of its tokens.
        "sparse": pairs of a token's id (int32) and its weight (float32); "pooling" max or sum, "activation" relu or
        log1p_relu.
        """
    @classmethod
    def of_program(
        cls,
        program: Program,
        files: Sequence[str],
        weights: Mapping[str, Place],
        head: Mapping[str, object],
        vocabulary: int,
        max_positions: int,
        padding_id: int,
        **settings: object,
    ) -> Self:
        """The same of a program, whose batches are padded. `files` and `weights` are those of the head's modules.

        Where the program gives vectors or scores of texts, "modules" have no pooling; it makes classes itself.
        """
    @property
    def equal_lengths_only(self) -> bool:
        """A probe showed that texts of other lengths change a text's answer: they never share a batch."""
    @property
    def batch_items(self) -> int:
        """Most texts in a batch; 1 where even those of equal length change one another's answers."""
    @property
    def columns(self) -> int:
        """Numbers of an answer, or of a token's row of it."""
    @property
    def vocabulary(self) -> int: ...
    @property
    def max_positions(self) -> int:
        """Most tokens of a text; 0: no limit."""
    def submit(
        self,
        ids: Sequence[int],
        second_begins: int,
        prompt_tokens: int,
        seen: int,
        lane: int,
        deadline_ns: int,
        tag: object,
        flow: int = 0,
    ) -> int:
        """`second_begins`: where the second text of a pair begins, or len(ids). The answer is bytes of float32.

        `prompt_tokens`: how many of the first ones pooling leaves out. `seen`: how many of the first ones are keys.
        """
