"""Executors of this process, for what jobs ask for: a method of the server with a loaded model, or a SavedModel."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from server.batch.methods import saved_model
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.methods.text_model import TextModel
from server.batch.pipeline.lines import LineLimit
from server.batch.pipeline.local_executor import LocalExecutor
from server.batch.pipeline.results import BARE_FIELD, ERROR_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.batch.methods.loaded_models import LoadedModels
    from server.batch.pipeline.method import Method
    from server.batch.state.control import Control
    from server.batch.state.job import JobRequest
    from server.batch.storage.access import Storage
    from server.config import Settings


class LocalExecutors:
    """For any number of jobs."""

    def __init__(self, models: LoadedModels, storage: Storage, settings: Settings) -> None:
        self._models = models
        self._storage = storage
        self._settings = settings

    @contextlib.contextmanager
    def open(self, request: JobRequest, control: Control) -> Iterator[LocalExecutor]:
        """For one job. Raises JobError, StoppedError."""
        with self._method(request, control) as method:
            yield LocalExecutor(method, request.key_field, line_limit(request, self._settings))

    @contextlib.contextmanager
    def _method(self, request: JobRequest, control: Control) -> Iterator[Method]:
        if request.model is None or not is_location(request.model):
            yield TextModel(self._models, request.method, request.model, control)
            return
        start_s = self._settings.tensorflow_start_s
        with saved_model.opened(request.model, self._storage, self._models.loop, control, start_s) as method:
            yield method


def line_limit(request: JobRequest, settings: Settings) -> LineLimit:
    """How long the job's lines may be: a text's are short, and while a long line is read no other thread can run."""
    if request.model is not None and is_location(request.model):
        return LineLimit(settings.batch_line_bytes, "batch_line_bytes")
    return LineLimit(settings.batch_text_line_bytes, "batch_text_line_bytes")


def result_fields(request: JobRequest) -> tuple[str, ...]:
    """The names that the fields of the job's results have: a key must have another one."""
    if request.model is not None and is_location(request.model):
        return BARE_FIELD, ERROR_FIELD
    return *TEXT_METHODS[request.method].fields, ERROR_FIELD


def is_location(model: str) -> bool:
    """Whether it says where a SavedModel is; else it is a loaded model's name, which may be `owner/name`."""
    return model.startswith("/") or "://" in model
