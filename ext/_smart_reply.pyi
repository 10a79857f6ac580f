"""TensorFlow Lite files, and the executor of Smart Reply's graph (ext/python/smart_reply.cc)."""

import enum
from collections.abc import Sequence

from ext._native import NativeEngine

class ModelError(ValueError):
    """A file is damaged, or holds another graph than is asked for."""

def segments(message: bytes) -> list[bytes]:
    """The segments that a message is cut into, at least one."""

def normalized(segment: bytes) -> bytes:
    """A segment in the model's form, `<S> text <E>`."""

def fingerprint64(data: bytes) -> int:
    """FarmHash Fingerprint64, 0 to 2^64 - 1."""

class SkipGramOptions:
    """Options of the operator SKIP_GRAM: n-grams of 1 to 5 words, 0 to 10 left out between two, shorter ones too."""

    def __init__(self, ngram_size: int = 3, max_skip: int = 2, include_all: bool = True) -> None: ...

def skip_grams(text: bytes, options: SkipGramOptions) -> list[bytes]:
    """The n-grams of the operator SKIP_GRAM, in its order. ValueError: options out of range."""

def features(normalized: bytes, options: SkipGramOptions) -> tuple[list[int], list[float]]:
    """Ids (int32) and weights (float32) of a normalized text's n-grams, as ExtractFeatures gives them."""

class Instructions(enum.Enum):
    """Implementations of the projection."""

    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2

def is_supported(instructions: Instructions) -> bool:
    """Whether this processor has them."""

def best_instructions() -> Instructions:
    """What the projection uses on this processor."""

def projection_sums(
    seeds: Sequence[float], ids: Sequence[int], weights: Sequence[float], instructions: Instructions
) -> list[float]:
    """For each seed (float32) the weighted sum of its hashes with the ids (int32); one weight (float32) for each id."""

class Projection:
    """From segments to sparse signatures, by seeds of one's own; of one thread at a time."""

    def __init__(self, seeds: Sequence[Sequence[float]], options: SkipGramOptions) -> None:
        """`seeds`: float32[hashes, bits]. ValueError: they make no 32-bit signatures."""

    def signatures(self, segment: bytes) -> list[int]:
        """One (int32) for each row of seeds."""

class ModelFile:
    """A .tflite file that was found well formed. Others raise ModelError."""

    @staticmethod
    def read(descriptor: int) -> ModelFile:
        """The file that a descriptor is open on, which may be closed then. It is not copied: nobody may write to it."""

    @staticmethod
    def copied(content: bytes) -> ModelFile: ...
    @property
    def content(self) -> bytes:
        """A copy of its bytes."""

    @property
    def operators(self) -> list[str]:
        """Names of the first subgraph's operators, in their order; `builtin N` for those that Smart Reply has not."""

    @property
    def is_smart_reply(self) -> bool:
        """Whether these are those of Smart Reply's graph."""

    def check_tensors(self) -> None:
        """Raise ModelError for broken strings, and for an operator that reads what nobody wrote."""

class Model:
    """Smart Reply's graph: messages (UTF-8 bytes) to replies; of any number of threads, without the GIL."""

    def __init__(self, file: ModelFile) -> None:
        """ModelError: it is another graph, or one that cannot be computed."""

    def merged_replies(self, messages: Sequence[bytes]) -> dict[str, float]:
        """Reply -> score for all messages together, best first; the scores of a reply add up."""

    def separate_replies(self, messages: Sequence[bytes]) -> list[dict[str, float]]:
        """The same for each message alone."""

    def best_labels(self, signatures: Sequence[int]) -> list[tuple[int, float]]:
        """What the operator Predict gives for a segment's signatures: labels with their scores, best first."""

class SmartReplyEngine(NativeEngine):
    """A model behind a queue, with workers that share it."""

    def __init__(self, model: Model, **settings: object) -> None: ...
    def submit(
        self,
        messages: Sequence[str],
        max_replies: int | None,
        threshold: float | None,
        tokens: int,
        lane: int,
        deadline_ns: int,
        tag: object,
        flow: int = 0,
    ) -> int: ...
