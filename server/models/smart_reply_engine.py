"""Smart Reply without a server: one TensorFlow Lite interpreter, from messages to scored replies.

The server's model has one for each worker thread, the Python API of package `smartreply` has one. The work is done in
ext (segments, operators, sums), without the GIL; what is here is loading a model, and refusing those that would not
work: the runtime trusts its files, and crashes on some that are broken.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tflite_runtime.interpreter import InterpreterWithCustomOps, OpResolverType

from ext import _tflite_ops
from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_MESSAGE_BYTES = 1 << 17
MAX_MODEL_BYTES = 1 << 30

OPERATORS = ("Normalize", "SKIP_GRAM", "ExtractFeatures", "LSH_PROJECTION", "Predict", "HASHTABLE_LOOKUP")
"""The graph: each feeds the next, and the last two give the scores and the replies."""


class MessageError(ValueError):
    """A message cannot be taken; the text says why, for people."""


def read_model(path: Path) -> bytes:
    """The bytes of a file, for several interpreters to share. Raises ModelError, OSError."""
    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise ModelError(f"{size} bytes, more than the {MAX_MODEL_BYTES} that a .tflite file may have")
    return path.read_bytes()


def open_interpreter(
    content: bytes, registerers: Sequence[Callable[[int], None]] = (_tflite_ops.register_operators,)
) -> Any:
    """An interpreter with Smart Reply's operators, its tensors not allocated yet. Raises ModelError."""
    try:
        _tflite_ops.verify_model(content)
    except ValueError as error:
        raise ModelError(f"no TensorFlow Lite model, or damaged: {error}") from None
    try:
        return InterpreterWithCustomOps(
            custom_op_registerers=list(registerers),
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(str(error)) from None


def operators_of(interpreter: Any) -> tuple[str, ...]:
    """Names of a graph's operators, in their order. Raises ModelError."""
    try:
        return tuple(operator["op_name"] for operator in interpreter._get_ops_details())
    except UnicodeDecodeError as error:
        raise ModelError(f"an operator's name is not UTF-8: {error}") from None


def described(details: Iterable[dict[str, Any]]) -> str:
    """Names and types of a graph's inputs or outputs."""
    return _shortened(f"{detail['name']} ({detail['dtype'].__name__})" for detail in details)


class SmartReplyInterpreter:
    """A Smart Reply model, ready and warm.

    `model` is a file, or what `read_model` gave: interpreters made from the same bytes share them. Calls from several
    threads take turns; for more than one at a time, make more interpreters. Replies come best first.

    `max_message_bytes` is the longest message that is taken, in UTF-8. `registerers` add the operators to the resolver
    whose address they are given; others are of use only for comparison. Raises ModelError when the model cannot be
    used, OSError when the file cannot be read.
    """

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        registerers: Sequence[Callable[[int], None]] = (_tflite_ops.register_operators,),
    ) -> None:
        self._max_message_bytes = max_message_bytes
        try:
            self._open(model if isinstance(model, bytes) else read_model(Path(model)), registerers)
        except ModelError as error:
            if isinstance(model, bytes):
                raise
            raise ModelError(f"{model}: {error}") from None

    def _open(self, content: bytes, registerers: Sequence[Callable[[int], None]]) -> None:
        self._interpreter = open_interpreter(content, registerers)
        try:
            self._interpreter.allocate_tensors()
            self._session = _session(self._interpreter)
            self._warm_up()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(str(error)) from None

    @property
    def session(self) -> _tflite_ops.Session:
        """What runs messages; it keeps the interpreter alive."""
        return self._session

    def replies(self, message: str | bytes) -> dict[str, float]:
        """Reply -> score of one message. Raises MessageError."""
        return self.merged_replies([message])

    def replies_many(self, messages: Iterable[str | bytes]) -> list[dict[str, float]]:
        """The same for many, in their order; no message's replies depend on the others."""
        return self._session.separate_replies([self._encoded(message) for message in messages])

    def merged_replies(self, messages: Iterable[str | bytes]) -> dict[str, float]:
        """One map for a conversation: a reply that several messages suggest gets the sum of its scores."""
        return self._session.merged_replies([self._encoded(message) for message in messages])

    def _encoded(self, message: str | bytes) -> bytes:
        try:
            encoded = message if isinstance(message, bytes) else message.encode()
        except UnicodeEncodeError as error:
            raise MessageError(f"message: not valid Unicode: {error.reason} at character {error.start}") from None
        if len(encoded) > self._max_message_bytes:
            raise MessageError(
                f"message: {len(encoded)} bytes, more than the limit max_message_bytes of {self._max_message_bytes}"
            )
        return encoded

    def _warm_up(self) -> None:
        """Run once: most of what the operators check they see only then. By the interpreter itself, which says why."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], np.array(b"Hello"))
        self._interpreter.invoke()
        self.replies("Hello")


def best(replies: dict[str, float], max_replies: int | None, threshold: float | None) -> dict[str, float]:
    """At most `max_replies` of replies that come best first, with scores not below `threshold`. None: no limit."""
    kept = replies.items() if threshold is None else ((text, s) for text, s in replies.items() if s >= threshold)
    return dict(islice(kept, max_replies))


def _session(interpreter: Any) -> _tflite_ops.Session:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    operators = interpreter._get_ops_details()
    names = operators_of(interpreter)
    texts = [detail for detail in outputs if detail["dtype"] is np.bytes_]
    scores = [detail for detail in outputs if detail["dtype"] is np.float32]
    if names != OPERATORS or (len(inputs), len(outputs), len(texts), len(scores)) != (1, 2, 1, 1):
        raise ValueError(
            f"no Smart Reply graph, which is {' -> '.join(OPERATORS)}, one string in, strings and float32 scores out:"
            f" operators {_shortened(names)}; inputs {described(inputs)}; outputs {described(outputs)}"
        )
    message, text, score = (_tflite_ops.Port(d["index"], d["name"]) for d in (*inputs, *texts, *scores))
    constants = _constants(inputs[0]["index"], operators)
    session = _tflite_ops.Session(interpreter, message, text, score, constants)
    _check_responses(interpreter, operators[-1])
    return session


def _constants(message: int, operators: list[dict[str, Any]]) -> list[int]:
    """The tensors that must be constants, if every operator otherwise reads what the one before it wrote.

    The runtime would let an operator read what nobody wrote.
    """
    constants: list[int] = []
    written = {message}
    for operator in operators:
        inputs = [int(index) for index in operator["inputs"]]
        computed, given = inputs[:1], inputs[1:]
        if operator["op_name"] == "LSH_PROJECTION":
            computed, given = inputs[1:], inputs[:1]
        if not computed or not written.issuperset(computed):
            raise ValueError(f"operator {operator['op_name']} does not read what the one before it wrote")
        constants += given
        written = {int(index) for index in operator["outputs"]}
    return constants


def _check_responses(interpreter: Any, lookup: dict[str, Any]) -> None:
    if len(lookup["inputs"]) != 3:
        raise ValueError("operator HASHTABLE_LOOKUP needs 3 inputs")
    keys, texts = (interpreter.get_tensor(int(index)) for index in lookup["inputs"][1:])
    if keys.dtype != np.int32 or keys.ndim != 1 or np.any(keys[1:] <= keys[:-1]):
        raise ValueError("the ids of the responses must be int32 and sorted")
    if texts.dtype != object or texts.shape != keys.shape:
        raise ValueError("there must be as many responses, strings, as ids of them")
    for number, text in enumerate(texts):
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"response {number} is not UTF-8: {error}") from None


def _shortened(names: Iterable[str], most: int = 8) -> str:
    shown = list(islice(names, most + 1))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
