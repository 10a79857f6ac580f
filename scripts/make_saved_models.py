#!/usr/bin/env python3
"""Make small TensorFlow SavedModels, for trying and testing what is served of them.

    python scripts/make_saved_models.py models/ half_plus_two sentence_encoder

half_plus_two     x: float[n] -> y: float[n], y = x / 2 + 2: the model of TensorFlow Serving's first steps
sentence_encoder  inputs: string[n] -> outputs: float[n, 64], the shape of the Universal Sentence Encoder: a text's
                  words are hashed to fixed random vectors, whose mean has length 1; no words give zeros

Needs the package tensorflow: `make setup-tf`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DIMENSIONS = 64
BUCKETS = 4096
SEED = 11


def half_plus_two(tf: Any) -> tuple[Any, Any]:
    """The module and its signature."""
    module = tf.Module()
    module.a, module.b = tf.Variable(0.5), tf.Variable(2.0)

    def predict(x: Any) -> dict[str, Any]:
        return {"y": module.a * x + module.b}

    module.predict = tf.function(predict, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    return module, module.predict


def sentence_encoder(tf: Any) -> tuple[Any, Any]:
    """The module and its signature."""
    module = tf.Module()
    vectors = tf.random.stateless_normal([BUCKETS, DIMENSIONS], seed=[SEED, SEED])
    module.vectors = tf.Variable(vectors, trainable=False)

    def embed(inputs: Any) -> dict[str, Any]:
        words = tf.strings.split(tf.strings.lower(inputs, encoding="utf-8"))
        found = tf.gather(module.vectors, tf.strings.to_hash_bucket_fast(words.flat_values, BUCKETS))
        sums = tf.math.segment_sum(found, words.value_rowids())
        rows = tf.shape(inputs)[0]
        sums = tf.concat([sums, tf.zeros([rows - tf.shape(sums)[0], DIMENSIONS])], 0)
        return {"outputs": tf.math.l2_normalize(sums, axis=1)}

    module.embed = tf.function(embed, input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    return module, module.embed


MODELS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "half_plus_two": half_plus_two,
    "sentence_encoder": sentence_encoder,
}


def save(models: dict[str, Callable[[Any], tuple[Any, Any]]], names: Sequence[str], folder: Path) -> None:
    """Write the named models to folders of their names below `folder`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    for name in names:
        module, signature = models[name](tf)
        tf.saved_model.save(module, str(folder / name), signatures=signature)
        print(folder / name, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the models' folders are made")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default: {' '.join(MODELS)}")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in MODELS]
    if unknown:
        parser.error(f"there is no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    try:
        save(MODELS, options.names or list(MODELS), options.folder)
    except ModuleNotFoundError as error:
        print(f"error: {error}: `make setup-tf` installs it", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
