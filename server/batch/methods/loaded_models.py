"""The loaded models, for the threads of jobs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from predictor.ttypes import BatchStage, ErrorCode, PredictionError

from server.batch.state.errors import JobError

if TYPE_CHECKING:
    from server.batch.state.control import Control
    from server.models.capabilities import Capability
    from server.models.model import Model
    from server.models.registry import Registry

_WAIT_S = 60.0
_POLL_S = 0.05


class LoadedModels:
    """A registry, and the event loop that it belongs to."""

    def __init__(self, registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
        self._registry = registry
        self.loop = loop

    def find(self, capability: Capability, name: str | None, control: Control) -> Model:
        """The model, for a job's thread; while it is loading this waits. Raises JobError, StoppedError."""
        future = asyncio.run_coroutine_threadsafe(self.find_on_loop(capability, name), self.loop)
        try:
            return control.result_of(future)
        finally:
            future.cancel()

    async def find_on_loop(self, capability: Capability, name: str | None) -> Model:
        """The model, for the event loop; while it is loading this waits. Raises JobError."""
        end = time.monotonic() + _WAIT_S
        while (model := self.find_now(capability, name, wait=time.monotonic() < end)) is None:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)  # rare: a model is loaded once
        return model

    def find_now(self, capability: Capability, name: str | None, *, wait: bool = True) -> Model | None:
        """The model; None while it is loading, where the caller wants to `wait`. Raises JobError."""
        try:
            return self._registry.model(capability, name, field=None)
        except PredictionError as error:
            if wait and error.code == ErrorCode.UNAVAILABLE:
                return None
            raise JobError(BatchStage.MODEL, error.message) from None
