"""The registry of a server that answers: trials first, a limit of models, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from predictor.ttypes import ModelState, PredictionError
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.registry import Registry
from server.models.requests import ITS_OWN_SCORES, RequestContext
from server.models.trial.trials import Tried
from tests.server.waiting import result
from tests.support import hostile
from tests.support.service import eventually
from tests.support.zoo import save

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.support.gate import Gate

FAST = Settings(warm_up_tokens=0, replicas=1, equal_lengths="never")


async def error_of(call: Coroutine[Any, Any, Any]) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        await call
    return caught.value


@pytest.fixture
def trial_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process."""

    async def tried(*_: object) -> Tried:
        return Tried(whole=True)

    monkeypatch.setattr(kinds, "tried", tried)


@pytest.mark.slow
async def test_a_model_is_tried_before_it_is_loaded(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    registry = Registry(FAST)
    assert (await registry.load("one", str(zoo("doc_model")), trial=True)).state == ModelState.READY
    before = registry.infos()
    path = hostile.write("overflowing", tmp_path)
    with capture_logs() as logs, pytest.raises(ModelError) as caught:
        await registry.load("one", str(path), trial=True)
    assert str(caught.value).startswith(f"{path}: it ends the process in which it is tried, by SIGFPE")
    assert registry.infos() == before
    assert [entry["event"] for entry in logs] == ["a model's trial failed", "model not loaded"]
    await registry.close()
    assert registry.is_at_rest


@pytest.mark.slow
async def test_others_are_loaded_while_one_is_tried(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    registry = Registry(FAST)
    endless = asyncio.create_task(registry.load("endless", str(hostile.write("endless", tmp_path)), trial=True))
    await registry.load("one", str(zoo("doc_model")), trial=True)
    assert [info.name for info in registry.infos()] == ["one"]
    registry.stop_loading("the server is draining")
    error = await error_of(endless)
    assert (error.code, error.message) == (ErrorCode.UNAVAILABLE, "the server is draining")
    assert (await error_of(registry.load("two", str(zoo("doc_model")), trial=True))).message == error.message
    await registry.close()


@pytest.mark.usefixtures("trial_goes_well")
async def test_a_program_that_was_tried_and_then_does_not_end(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    flag = torch.from_file(str(tmp_path / "flag"), True, 2, dtype=torch.long)
    path = save(hostile.EndlessAfterItsTrial(tmp_path / "flag"), tmp_path / "model.pt")
    flag[0] = 1
    registry = Registry(FAST.model_copy(update={"model_trial_s": 0.2}))
    try:
        with pytest.raises(ModelError, match=r"unlike its trial, its loading takes over 0\.2 s \(setting model_trial"):
            await registry.load("endless", str(path), trial=True)
        assert not registry.is_at_rest
        error = await error_of(registry.load("one", str(zoo("doc_model")), trial=True))
        assert (error.code, "still runs; restart the server" in error.message) == (ErrorCode.UNAVAILABLE, True)
        assert registry.infos() == []
    finally:
        flag[0] = 0
    await asyncio.to_thread(eventually, lambda: registry.is_at_rest)
    assert (await registry.load("one", str(zoo("doc_model")), trial=False)).state == ModelState.READY
    await registry.close()


@pytest.mark.usefixtures("trial_goes_well")
async def test_a_drain_does_not_wait_for_what_is_loaded(tmp_path: Path) -> None:
    flag = torch.from_file(str(tmp_path / "flag"), True, 2, dtype=torch.long)
    path = save(hostile.EndlessAfterItsTrial(tmp_path / "flag"), tmp_path / "model.pt")
    flag[0] = 1
    registry = Registry(FAST)
    try:
        loading = asyncio.create_task(registry.load("endless", str(path), trial=True))
        await asyncio.to_thread(eventually, lambda: not registry.is_at_rest)
        registry.stop_loading("the server is draining")
        error = await error_of(loading)
        assert (error.code, error.message) == (ErrorCode.UNAVAILABLE, "the server is draining")
    finally:
        flag[0] = 0
    await asyncio.to_thread(eventually, lambda: registry.is_at_rest)


async def test_a_model_that_runs_on_is_unloaded_all_the_same(gate: Gate) -> None:
    registry = Registry(FAST.model_copy(update={"drain_timeout_ms": 0}))
    await registry.load("gated", str(gate.path))
    model = registry.model(Capability.CLASSIFY, "gated")
    with gate.closed():
        asked = model.predict("text", ITS_OWN_SCORES, RequestContext(0, time.monotonic_ns() + 60 * 10**9, None))
        with capture_logs() as logs:
            await registry.unload("gated")
        assert [entry["event"].partition(",")[0] for entry in logs] == ["a model still runs", "model unloaded"]
        assert (registry.infos(), registry.is_at_rest) == ([], False)
    assert await result(asked)
    await asyncio.to_thread(eventually, lambda: registry.is_at_rest)


async def test_there_are_only_so_many_models(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    registry = Registry(FAST.model_copy(update={"max_models": 2}))
    path = shutil.copy(zoo("doc_model"), tmp_path / "model.pt")
    for name in ("one", "two", "two"):
        await registry.load(name, str(path))
    error = await error_of(registry.load("three", str(path)))
    assert (error.code, error.setting, error.retry_after_ms) == (ErrorCode.OVERLOADED, "max_models", 1000)
    assert error.message == "2 models are loaded, as many as may be; unload one of them (setting max_models)"
    with pytest.raises(ModelError, match=r"more than 2 models are named \(setting max_models\)"):
        registry.announce("three", str(path))
    await registry.unload("one")
    assert (await registry.load("three", str(path))).state == ModelState.READY
    await registry.close()
