"""Which jobs are accepted: what can be known before anything is read or predicted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from predictor.ttypes import OnError

from process.options import KEY_FIELD, MAX_ERRORS
from server.batch.methods.local_executors import is_location, result_fields
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.storage.errors import LocationError
from server.batch.storage.overlap import check_apart, result_of
from server.errors import ErrorCode, PredictionError, invalid_argument
from server.hub.location import is_hub
from server.models.capabilities import Capability
from server.tensorflow.location import SCHEME, is_url
from server.upstream.location import is_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.batch.state.job import JobRequest
    from server.batch.storage.access import Storage
    from server.models.registry import Registry

TFSERVING_SCHEME = SCHEME.removesuffix("://")

_SHOWN_CHARACTERS = 128


class Admission:
    """Refuses requests with errors that name the field and the setting. `schemes` may name tfserving."""

    def __init__(self, storage: Storage, registry: Registry, schemes: Sequence[str]) -> None:
        self._storage = storage
        self._registry = registry
        self._tfserving = TFSERVING_SCHEME in schemes

    def check(self, request: JobRequest) -> None:
        """What needs no event loop, but may look up links. Raises INVALID_ARGUMENT."""
        _check_method(request)
        _check_options(request)
        self._check_model(request)
        with _field("request.input"):
            self._storage.check(request.input, "read")
        with _field("request.output"):
            self._storage.check(request.output, "write")
            check_apart(request.input, request.output)
            if (result := result_of(request.input, request.output)) is not None:
                self._storage.check(result, "write")

    def check_name(self, request: JobRequest) -> None:
        """A loaded model's name, on the event loop; one that is loading is waited for later.

        Raises NOT_FOUND, INVALID_ARGUMENT.
        """
        if request.model is not None and is_location(request.model):
            return
        try:
            self._registry.model(TEXT_METHODS[request.method].capability, request.model, field="request.model")
        except PredictionError as error:
            if error.code != ErrorCode.UNAVAILABLE:
                raise

    def _check_model(self, request: JobRequest) -> None:
        if request.model is None or not is_location(request.model):
            return
        if is_hub(request.model):
            raise invalid_argument(
                "a job names a model of the hub by the name under which the server has loaded it"
                " (--model NAME=hf://OWNER/NAME, or load_model)",
                field="request.model",
            )
        if is_upstream(request.model):
            raise invalid_argument(
                "a job names a model of an upstream server by the name under which this server has loaded it"
                " (--model NAME=openai://HOST:PORT/MODEL)",
                field="request.model",
            )
        if TEXT_METHODS[request.method].capability != Capability.CLASSIFY:
            raise invalid_argument(f"must be predict for a SavedModel, got {request.method!r}", field="request.method")
        if not is_url(request.model):
            with _field("request.model"):
                self._storage.check(request.model, "read")
        elif not self._tfserving:
            raise invalid_argument(f"{SCHEME} is not allowed", field="request.model", setting="batch_schemes")


def _check_method(request: JobRequest) -> None:
    if request.method not in TEXT_METHODS:
        given = repr(request.method)[:_SHOWN_CHARACTERS]
        raise invalid_argument(f"must be one of {', '.join(TEXT_METHODS)}, got {given}", field="request.method")


def _check_options(request: JobRequest) -> None:
    if request.on_error not in OnError._VALUES_TO_NAMES:
        raise invalid_argument(f"must be 0 (FAIL) or 1 (RECORD), got {request.on_error}", field="request.on_error")
    if request.max_errors is not None:
        if (wrong := MAX_ERRORS.wrong(request.max_errors)) is not None:
            raise invalid_argument(wrong, field="request.max_errors")
        if request.on_error != OnError.RECORD:
            raise invalid_argument("can only be given with on_error RECORD", field="request.max_errors")
    if request.key_field is not None and KEY_FIELD.wrong(len(request.key_field)) is not None:
        message = f"must have {KEY_FIELD.range} characters, got {len(request.key_field)}"
        raise invalid_argument(message, field="request.key_field")
    if request.key_field in (taken := result_fields(request)):
        message = f"must be none of the results' own fields ({', '.join(taken)}), got {request.key_field!r}"
        raise invalid_argument(message, field="request.key_field")


@contextlib.contextmanager
def _field(name: str) -> Iterator[None]:
    """Let storage's errors be of this field."""
    try:
        yield
    except LocationError as error:
        raise invalid_argument(error.reason, field=name, setting=error.setting) from None
