"""Smart Reply operators for tflite-runtime, and the session that drives an interpreter (ext/python/tflite.cc)."""

import enum
from collections.abc import Sequence

from tflite_runtime.interpreter import Interpreter  # type: ignore[import-untyped]

from ext._native import NativeEngine

def segments(message: bytes) -> list[bytes]:
    """The segments that a message is cut into, at least one."""

def normalized(segment: bytes) -> bytes:
    """A segment in the model's form, `<S> text <E>`."""

def fingerprint64(data: bytes) -> int:
    """FarmHash Fingerprint64, 0 to 2^64 - 1."""

class Instructions(enum.Enum):
    """Implementations of the projection."""

    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2

def is_supported(instructions: Instructions) -> bool:
    """Whether this processor has them."""

def best_instructions() -> Instructions:
    """What LSH_PROJECTION uses on this processor."""

def projection_sums(
    seeds: Sequence[float], ids: Sequence[int], weights: Sequence[float], instructions: Instructions
) -> list[float]:
    """For each seed (float32) the weighted sum of its hashes with the ids (int32); one weight (float32) for each id."""

def register_operators(resolver: int) -> None:
    """Add all operators to the resolver at this address; for InterpreterWithCustomOps(custom_op_registerers=[...])."""

def register_operators_with_stock_projection(resolver: int) -> None:
    """The same, but LSH_PROJECTION stays the runtime's own."""

def verify_model(model: bytes) -> None:
    """Raise ValueError when the bytes are not a well-formed flatbuffer of a model: the runtime itself does not look."""

def verify_tensors(model: bytes) -> None:
    """Raise ValueError when a verified model has broken strings, or an operator that reads what nobody wrote."""

class Port:
    """A tensor of the graph: index and name."""

    def __init__(self, index: int, name: str) -> None: ...

class Session:
    """Messages (UTF-8 bytes) through one interpreter with allocated tensors; computes without the GIL.

    Calls from several threads take turns. A graph that fails raises RuntimeError; the interpreter has the reason.
    """

    def __init__(
        self, interpreter: Interpreter, message: Port, texts: Port, scores: Port, constants: Sequence[int]
    ) -> None:
        """Must follow the making of the interpreter on the same thread.

        ValueError: the graph has no such ports, or one of the tensors `constants` has no content or is broken.
        """

    def merged_replies(self, messages: Sequence[bytes]) -> dict[str, float]:
        """Reply -> score for all messages together, best first; the scores of a reply add up."""

    def separate_replies(self, messages: Sequence[bytes]) -> list[dict[str, float]]:
        """The same for each message alone."""

class SmartReplyEngine(NativeEngine):
    """Sessions behind a queue, each with its own worker."""

    def __init__(self, sessions: tuple[Session, ...], **settings: object) -> None: ...
    def submit(
        self,
        messages: Sequence[str],
        max_replies: int | None,
        threshold: float | None,
        tokens: int,
        lane: int,
        deadline_ns: int,
        tag: object,
    ) -> int: ...
