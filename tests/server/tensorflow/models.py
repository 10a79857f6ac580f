"""A SavedModel with many signatures, for the tests, and the script's: python -m tests.server.tensorflow.models OUT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.make_saved_models import MODELS, save

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = ["low", "mid", "high"]
MASK = [256, 256, 21]


def _model(tf: Any, *specs: tuple[str, Any, list[int | None]]) -> Callable[..., tuple[Any, Any]]:
    """The module and signature of a function of these inputs: name, type and shape of each."""

    def decorate(function: Callable[..., Any]) -> tuple[Any, Any]:
        module = tf.Module()
        signature = [tf.TensorSpec(shape, kind, name) for name, kind, shape in specs]
        module.predict = tf.function(function, input_signature=signature)
        return module, module.predict

    return decorate


def echo(tf: Any) -> tuple[Any, Any]:
    """What comes in, and the texts as bytes too."""

    @_model(
        tf,
        ("flag", tf.bool, [None]),
        ("ids", tf.int64, [None]),
        ("large", tf.uint64, [None]),
        ("text", tf.string, [None]),
        ("weights", tf.float32, [None, 2]),
    )
    def predict(flag: Any, ids: Any, large: Any, text: Any, weights: Any) -> Any:
        same = {"flag": flag, "ids": ids, "large": large, "text": text, "weights": weights}
        return {name: tf.identity(value) for name, value in same.items()} | {"text_bytes": tf.identity(text)}

    return predict


def fragile(tf: Any) -> tuple[Any, Any]:
    """Fails on a batch with a text that is no number."""
    return _model(tf, ("text", tf.string, [None]))(lambda text: {"number": tf.strings.to_number(text)})


def sums(tf: Any) -> tuple[Any, Any]:
    """Of any number of numbers."""
    return _model(tf, ("x", tf.float32, [None, None]))(lambda x: {"y": tf.reduce_sum(x, 1)})


def root(tf: Any) -> tuple[Any, Any]:
    """NaN for numbers below 0."""
    return _model(tf, ("x", tf.float64, [None]))(lambda x: {"y": tf.sqrt(x)})


def alone(tf: Any) -> tuple[Any, Any]:
    """Takes batches of one only."""
    return _model(tf, ("x", tf.int32, [1]))(lambda x: {"y": x + 1})


def total(tf: Any) -> tuple[Any, Any]:
    """One number for the whole batch."""
    return _model(tf, ("x", tf.float32, [None]))(lambda x: {"y": tf.reduce_sum(x, keepdims=True)})


def scalar(tf: Any) -> tuple[Any, Any]:
    """Has no dimension for a batch."""
    return _model(tf, ("x", tf.float32, []))(lambda x: {"y": x})


def complex_number(tf: Any) -> tuple[Any, Any]:
    """A type that JSON does not have."""
    return _model(tf, ("x", tf.float32, [None]))(lambda x: {"y": tf.cast(x, tf.complex64)})


def classes(tf: Any) -> tuple[Any, Any]:
    """Labels and their scores of a text, by its length."""

    def predict(text: Any) -> Any:
        length = tf.cast(tf.strings.length(text), tf.float32)
        scores = tf.stack([-length, length * 0, length], 1)
        return {"classes": tf.tile([LABELS], [tf.shape(text)[0], 1]), "scores": scores}

    return _model(tf, ("text", tf.string, [None]))(predict)


def lengths(tf: Any) -> tuple[Any, Any]:
    """Three numbers of a text; fails on a batch with a text that is empty."""

    def predict(text: Any) -> Any:
        length = tf.cast(tf.strings.length(text), tf.float32)
        with tf.control_dependencies([tf.debugging.assert_positive(length, "an empty text")]):
            return {"outputs": tf.stack([-length, length * 0, length], 1)}

    return _model(tf, ("text", tf.string, [None]))(predict)


def names(tf: Any) -> tuple[Any, Any]:
    """A number of an instance, and the same three names for all of them together."""
    return _model(tf, ("x", tf.float32, [None]))(lambda x: {"y": x * 2, "names": tf.constant(LABELS)})


def masks(tf: Any) -> tuple[Any, Any]:
    """An image's worth of numbers for each number."""

    def predict(x: Any) -> Any:
        return {"mask": tf.reshape(x, [-1, 1, 1, 1]) + tf.zeros([1, *MASK])}

    return _model(tf, ("x", tf.float32, [None]))(predict)


SIGNATURES = (echo, fragile, sums, root, alone, total, scalar, complex_number, classes, lengths)


def zoo(tf: Any) -> tuple[Any, Any]:
    """All of these by their names, none of them the default."""
    module, signatures = tf.Module(), {}
    module.parts = []
    for make in SIGNATURES:
        part, signatures[make.__name__] = make(tf)
        module.parts.append(part)
    return module, signatures


if __name__ == "__main__":
    more = {"zoo": zoo, "names": names, "masks": masks}
    save(MODELS | more, [*MODELS, *more], Path(sys.argv[1]))
