"""The Python API of smls, on this project's engine and without a server.

    import ml_services

    ml_services.get("TFSentenceEncoder").run(["Hello world!", "How are you today?"])  # two lists of numbers

`make models/encoder` puts the default model in place: models/encoder in the checkout, or below sys.prefix where the
package is installed without one. ML_SERVICES_MODEL in the environment, or `get(..., location=...)`, names another: any
model that the server can embed with, TensorFlow SavedModels such as smls's Universal Sentence Encoder among them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import predictor_packages  # noqa: F401  first: it finds `server`
from ml_services.sentence_encoder import DEFAULT_LOCATION, EmbeddingError, ModelNotFoundError, SentenceEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEFAULT_LOCATION",
    "EmbeddingError",
    "ModelNotFoundError",
    "SentenceEncoder",
    "get",
    "register_builder",
]

_builders: dict[str, Callable[..., Any]] = {"SentenceEncoder": SentenceEncoder, "TFSentenceEncoder": SentenceEncoder}
_built: dict[tuple[Any, ...], Any] = {}
_lock = threading.RLock()  # a builder may ask for another service


def get(key: str, **options: Any) -> Any:
    """The service of that name: the same object each time, for the same options. Raises ValueError(key).

    `options` go to what builds it when it is first asked for, e.g. `location` of a SentenceEncoder.
    """
    with _lock:
        if key not in _builders:
            raise ValueError(key)
        wanted = (key, *sorted(options.items()))
        if wanted not in _built:
            _built[wanted] = _builders[key](**options)
        return _built[wanted]


def register_builder(key: str, builder: Callable[..., Any]) -> None:
    """Let `get(key)` give what `builder()` does; what was built for that key before is not given any more."""
    with _lock:
        _builders[key] = builder
        for wanted in [wanted for wanted in _built if wanted[0] == key]:
            del _built[wanted]
