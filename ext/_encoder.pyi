from collections.abc import Mapping, Sequence

from ext._native import NativeEngine

class ModelError(ValueError): ...

def architectures() -> list[str]:
    """The values of model_type in config.json that are served."""

class EncoderEngine(NativeEngine):
    """A model that reads whole texts."""

    def __init__(
        self,
        config: Mapping[str, object],
        files: Sequence[str],
        weights: Mapping[str, tuple[int, str, Sequence[int], int, int]],
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
    @property
    def columns(self) -> int:
        """Numbers of an answer, or of a token's row of it."""
    @property
    def vocabulary(self) -> int: ...
    @property
    def max_positions(self) -> int:
        """Most tokens of a text; 0: no limit."""
    def submit(
        self, ids: Sequence[int], second_begins: int, prompt_tokens: int, lane: int, deadline_ns: int, tag: object
    ) -> int:
        """`second_begins`: where the second text of a pair begins, or len(ids). The answer is bytes of float32.

        `prompt_tokens`: how many of the first ones pooling leaves out.
        """
