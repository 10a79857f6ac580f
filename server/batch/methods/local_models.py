"""Models in a process without a server: for the command line, and for workers on other machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

import uvloop
from predictor.ttypes import BatchStage

from server.batch.methods.loaded_models import LoadedModels
from server.batch.state.control import Control
from server.batch.state.errors import JobError, StoppedError
from server.errors import ModelError
from server.models.registry import Registry, parse_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings


@contextlib.contextmanager
def load_models(settings: Settings, control: Control | None = None) -> Iterator[LoadedModels]:
    """The models that the settings name, on an event loop in a thread of its own. Raises JobError.

    `control` ends the loading too, which takes long where a model is downloaded: StoppedError.
    Nobody waits beside the job: where the settings do not say how many batches run at a time, every core runs one.
    """
    if not settings.replicas:
        settings = settings.model_copy(update={"replicas": len(os.sched_getaffinity(0))})
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="models", daemon=True)
    thread.start()
    registry = None
    try:
        loading = asyncio.run_coroutine_threadsafe(_loaded(settings), loop)
        try:
            registry = (control or Control()).result_of(loading)
        except StoppedError:
            loading.cancel()
            raise
        yield LoadedModels(registry, loop)
    finally:
        if registry is not None:
            asyncio.run_coroutine_threadsafe(registry.close(), loop).result()
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _loaded(settings: Settings) -> Registry:
    registry = Registry(settings)
    try:
        for text in settings.model:
            registry.announce(*parse_location(text))
        for text in settings.model:
            await registry.load(*parse_location(text))
    except ModelError as error:
        await registry.close()
        raise JobError(BatchStage.MODEL, str(error)) from None
    return registry
