"""The registry with models of a hub: versions, reload, two names, and downloads that are ended."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ModelState

from server.config import Settings
from server.errors import ModelError
from server.hub.errors import HubUnavailableError
from server.hub.stop import Stop
from server.models.capabilities import Capability
from server.models.registry import Registry
from server.models.requests import ITS_OWN_SCORES
from tests.e2e import folders
from tests.server.waiting import result
from tests.support.folders import forms
from tests.support.folders.served import context
from tests.support.hub import STALLED
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.hub import LocalHub, Served
    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

LOCATION = "hf://owner/name"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(Settings(warm_up_tokens=0, replicas=1, hub_cache=tmp_path / "cache"))
    yield registry
    registry.stop_loading("the test is over")
    await registry.close()


@pytest.fixture
def served(hub: LocalHub, shared_files: SharedFiles, tmp_path: Path) -> Served:
    made = folders.made(shared_files, ["topics"])["topics"]
    return hub.add("owner/name", shutil.copytree(made, tmp_path / "model"))


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, condition)


async def test_the_version_is_the_commit(registry: Registry, served: Served) -> None:
    registry.announce("one", LOCATION)
    assert registry.unready() == ["model one is loading"]
    info = await registry.load("one", LOCATION)
    assert (info.version, info.location, info.kind) == (served.commit, LOCATION, "text-classifier")
    assert registry.unready() == []


async def test_reload_takes_what_the_branch_is_now(registry: Registry, served: Served, hub: LocalHub) -> None:
    await registry.load("one", LOCATION)
    model = registry.model(Capability.CLASSIFY, "one")
    hub.asked.clear()
    assert (await registry.load("one", LOCATION)).version == served.commit
    assert hub.asked_for("") == []
    config = forms.read_json(served.folder / "config.json")
    labels = {"0": "a", "1": "b", "2": "c", "3": "d"}
    forms.write_json(served.folder / "config.json", config | {"id2label": labels, "label2id": {}})
    served.commit = "d" * 40
    assert (await registry.load("one", LOCATION)).version == "d" * 40
    assert registry.model(Capability.CLASSIFY, "one") is not model
    answer = await result(registry.model(Capability.CLASSIFY, "one").predict("boat", ITS_OWN_SCORES, context()))
    assert set(answer) == set("abcd")


async def test_two_names_share_a_model_of_the_same_commit(registry: Registry, served: Served) -> None:
    for name in ("one", "two"):
        await registry.load(name, LOCATION)
    await registry.load("other", f"{LOCATION},precision=int8")
    one, two, other = (registry.model(Capability.CLASSIFY, name) for name in ("one", "two", "other"))
    assert one is two is not other
    served.commit = "d" * 40
    await registry.load("three", LOCATION)
    assert registry.model(Capability.CLASSIFY, "three") is not one


async def test_a_refused_model_leaves_nothing(registry: Registry, served: Served) -> None:
    config = forms.read_json(served.folder / "config.json")
    forms.write_json(served.folder / "config.json", config | {"model_type": "xlnet"})
    with pytest.raises(ModelError, match=r"^hf://owner/name: its architecture is 'xlnet'"):
        await registry.load("one", LOCATION)
    assert registry.infos() == []
    registry.announce("required", LOCATION)
    with pytest.raises(ModelError):
        await registry.load("required", LOCATION)
    (info,) = registry.infos()
    assert info.state == ModelState.FAILED
    assert "its architecture is 'xlnet'" in info.error


async def test_a_name_that_is_none_is_refused_at_once(registry: Registry, hub: LocalHub) -> None:
    for location in ("hf://a/b/c", "hf://a/b@", "hf://a/b,precision=none"):
        with pytest.raises(ModelError):
            registry.announce("one", location)
        with pytest.raises(ModelError):
            await registry.load("one", location)
    assert hub.asked == []


async def test_other_models_are_loaded_during_a_download(
    registry: Registry, served: Served, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    served.faults["model.safetensors"] = [STALLED]
    slow = asyncio.create_task(registry.load("slow", LOCATION))
    await until(lambda: list(tmp_path.glob("cache/*/blobs/*.partial")))
    await registry.load("quick", str(zoo("doc_model")))
    assert [info.name for info in registry.infos()] == ["quick"]
    served.go_on.set()
    assert (await slow).version == served.commit


async def test_a_drain_ends_a_download(registry: Registry, served: Served, tmp_path: Path) -> None:
    served.faults["model.safetensors"] = [STALLED]
    registry.announce("one", LOCATION)
    loading = asyncio.create_task(registry.load("one", LOCATION))
    await until(lambda: list(tmp_path.glob("cache/*/blobs/*.partial")))
    registry.stop_loading("the server is draining")
    served.go_on.set()
    with pytest.raises(HubUnavailableError, match="hf://owner/name: the server is draining; the next download goes on"):
        await loading
    assert registry.infos()[0].error == f"{LOCATION}: the server is draining; the next download goes on from here"
    assert (await registry.load("one", LOCATION)).state == ModelState.READY


async def test_the_end_of_a_task_ends_its_download(
    registry: Registry, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = []

    class Recorded(Stop):
        def __init__(self) -> None:
            super().__init__()
            stops.append(self)

    monkeypatch.setattr("server.models.registry.Stop", Recorded)
    served.faults["model.safetensors"] = [STALLED]
    loading = asyncio.create_task(registry.load("one", LOCATION))
    await until(lambda: list(tmp_path.glob("cache/*/blobs/*.partial")))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert stops[0].is_set
    assert registry.infos() == []
    served.go_on.set()
