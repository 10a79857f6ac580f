"""Models that jobs ask for while they are loading, or that are not there."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from predictor.ttypes import BatchStage

from server.batch.methods.loaded_models import LoadedModels
from server.batch.state.control import Control
from server.batch.state.errors import JobError, StoppedError
from server.errors import not_found, unavailable
from server.models.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = object()


class Registry:
    """Answers each question with the next of `answers`, the last one from then on."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.waited_for = threading.Event()
        self._questions = 0

    def model(self, _capability: Capability, _name: str | None, field: str | None) -> Any:
        assert field is None, "a job's error names no field"
        self._questions += 1
        if self._questions == 2:
            self.waited_for.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def others_done() -> None:
    """Wait for what is being cancelled."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    new = asyncio.new_event_loop()
    thread = threading.Thread(target=new.run_forever)
    thread.start()
    yield new
    asyncio.run_coroutine_threadsafe(others_done(), new).result()
    new.call_soon_threadsafe(new.stop)
    thread.join()
    new.close()


def models(loop: asyncio.AbstractEventLoop, registry: Registry) -> LoadedModels:
    return LoadedModels(cast("Any", registry), loop)


def test_model_that_is_loading_is_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    loading = unavailable("model 'm' is loading", 1000)
    found = models(loop, Registry(loading, loading, MODEL)).find(Capability.CLASSIFY, "m", Control())
    assert cast("Any", found) is MODEL


def test_job_that_is_stopped_while_its_model_is_loading(loop: asyncio.AbstractEventLoop) -> None:
    registry, control = Registry(unavailable("model 'm' is loading", 1000)), Control()

    def stop() -> None:
        registry.waited_for.wait(60)
        control.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(StoppedError):
        models(loop, registry).find(Capability.CLASSIFY, "m", control)
    stopping.join()


@pytest.mark.parametrize("wait_s", [60.0, 0.0])
def test_model_that_is_not_there(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, wait_s: float
) -> None:
    """At once, or after a wait that was in vain."""
    monkeypatch.setattr("server.batch.methods.loaded_models._WAIT_S", wait_s)
    error = unavailable("model 'm' is loading", 1000) if wait_s == 0 else not_found("no model is named 'm'")
    with pytest.raises(JobError) as caught:
        models(loop, Registry(error)).find(Capability.CLASSIFY, "m", Control())
    assert (caught.value.stage, caught.value.reason) == (BatchStage.MODEL, error.message)
    assert str(caught.value) == f"cannot get the model: {error.message}"
