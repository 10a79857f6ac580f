"""Which jobs are accepted: what can be known before anything is read or predicted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from predictor.ttypes import OnError

from server.batch.methods.methods import is_location
from server.batch.methods.saved_model import TFSERVING
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.storage.storage import LocationError
from server.errors import ErrorCode, PredictionError, invalid_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.batch.state.job import JobRequest
    from server.batch.storage.storage import Storage
    from server.models.registry import Registry

TFSERVING_SCHEME = TFSERVING.removesuffix("://")

_FIELD_CHARACTERS = 256
_SHOWN_CHARACTERS = 128


class Admission:
    """Refuses requests with errors that name the field and the setting. `schemes` may name tfserving."""

    def __init__(self, storage: Storage, registry: Registry, schemes: Sequence[str]) -> None:
        self._storage = storage
        self._registry = registry
        self._tfserving = TFSERVING_SCHEME in schemes

    def check(self, request: JobRequest) -> None:
        """What needs no event loop, but may look up links. Raises INVALID_ARGUMENT."""
        if request.method not in TEXT_METHODS:
            given = repr(request.method)[:_SHOWN_CHARACTERS]
            raise invalid_argument(f"request.method is {given}; it must be one of {', '.join(TEXT_METHODS)}")
        if request.on_error not in OnError._VALUES_TO_NAMES:
            raise invalid_argument(f"request.on_error is {request.on_error}; it must be 0 (FAIL) or 1 (RECORD)")
        if request.max_errors is not None and (request.max_errors < 0 or request.on_error != OnError.RECORD):
            raise invalid_argument("request.max_errors must be at least 0, and goes with on_error RECORD only")
        if request.key_field is not None and not 1 <= len(request.key_field) <= _FIELD_CHARACTERS:
            raise invalid_argument(f"request.key_field must have 1 to {_FIELD_CHARACTERS} characters")
        self._check_model(request)
        with _naming("input"):
            self._storage.check(request.input, "read")
        with _naming("output"):
            self._storage.check(request.output, "write")
            self._storage.check_apart(request.input, request.output)

    def check_name(self, request: JobRequest) -> None:
        """A loaded model's name, on the event loop; one that is loading is waited for later.

        Raises NOT_FOUND, INVALID_ARGUMENT.
        """
        if request.model is not None and is_location(request.model):
            return
        try:
            self._registry.model(TEXT_METHODS[request.method].capability, request.model, field="request.model")
        except PredictionError as error:
            if error.code == ErrorCode.UNAVAILABLE:
                return
            raise

    def _check_model(self, request: JobRequest) -> None:
        if request.model is None or not is_location(request.model):
            return
        if request.method != "predict":
            raise invalid_argument(f"request.method is {request.method!r}; a SavedModel's is predict")
        if not request.model.startswith(TFSERVING):
            with _naming("model"):
                self._storage.check(request.model, "read")
        elif not self._tfserving:
            raise invalid_argument(f"request.model: {TFSERVING} is not allowed (setting batch_schemes)")


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except LocationError as error:
        raise invalid_argument(f"request.{field}: {error}") from None
