"""Names, defaults, swaps: the registry with real models."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ModelState

from server.config import Settings
from server.errors import ErrorCode, ModelError, PredictionError
from server.models import kinds, torchscript
from server.models.capabilities import Capability
from server.models.registry import Registry, parse_location
from server.models.requests import ITS_OWN_SCORES, RequestContext
from tests.server.waiting import result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAST = Settings(warm_up_tokens=0, replicas=1)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry(FAST)
    yield registry
    await registry.close()


def error_of(call: Callable[..., Any], *arguments: Any) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("text", "name", "location"),
    [
        ("models/classifier.pt", "classifier", "models/classifier.pt"),
        ("intent=models/classifier.pt", "intent", "models/classifier.pt"),
        ("a.b-c_1=x=y.pt", "a.b-c_1", "x=y.pt"),
        ("/odd=folder/model.pt", "model", "/odd=folder/model.pt"),
        ("models/größe 1.pt", "gr--e-1", "models/größe 1.pt"),
        ("models/.hidden.pt", "hidden", "models/.hidden.pt"),
        ("x" * 200 + ".pt", "x" * 128, "x" * 200 + ".pt"),
        ("..", "model", ".."),
        ("server/models", "models", "server/models"),
        ("a/bge-small-en-v1.5,precision=int8", "bge-small-en-v1", "a/bge-small-en-v1.5,precision=int8"),
        ("intent=folder,precision=int8,pooling=cls", "intent", "folder,precision=int8,pooling=cls"),
        ("BAAI/bge-m3=models/bge", "BAAI/bge-m3", "models/bge"),
        ("a/b/c=models/bge", "bge", "a/b/c=models/bge"),
        ("hf://BAAI/bge-small-en-v1.5", "bge-small-en-v1.5", "hf://BAAI/bge-small-en-v1.5"),
        ("hf://a/bge.x@v1.0,precision=int8", "bge.x", "hf://a/bge.x@v1.0,precision=int8"),
        ("mine=hf://a/b@refs/pr/1", "mine", "hf://a/b@refs/pr/1"),
        ("a/b=hf://a/b,precision=int8", "a/b", "hf://a/b,precision=int8"),
        ("hf://gpt2", "gpt2", "hf://gpt2"),
    ],
)
def test_names_of_locations(text: str, name: str, location: str) -> None:
    assert parse_location(text) == (name, location)


async def test_a_name_is_known_before_it_is_loaded(registry: Registry, zoo: Callable[[str], Path]) -> None:
    registry.announce("one", str(zoo("doc_model")))
    assert registry.unready() == ["model one is loading"]
    for method, name in (("predict", None), ("predict", "one"), ("embed", None)):
        error = error_of(registry.model, method, name)
        assert error.code == ErrorCode.UNAVAILABLE
        assert "loading" in error.message
        assert error.retry_after_ms > 0
    (info,) = registry.infos()
    assert (info.state, info.methods, info.default_for) == (ModelState.LOADING, [], [])

    await registry.load("one", str(zoo("doc_model")))
    assert registry.unready() == []
    assert registry.model(Capability.CLASSIFY, None) is registry.model(Capability.CLASSIFY, "one")


class PanicException(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize("error", [MemoryError("no room"), PanicException("unwrap on None"), ZeroDivisionError()])
async def test_what_no_loader_expects_is_a_model_that_failed(
    registry: Registry, zoo: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = str(zoo("doc_model"))

    async def fail(*_: object) -> None:
        raise error

    registry.announce("one", path)
    with monkeypatch.context() as patched:
        patched.setattr(torchscript, "load", fail)
        for name in ("one", "two"):
            with pytest.raises(ModelError) as caught:
                await registry.load(name, path)
            assert str(caught.value) == f"{path}: {type(error).__name__}: {error}"
    (info,) = registry.infos()
    shown = str(caught.value).replace(path, Path(path).name)  # callers see no folders of the server's
    assert (info.name, info.state, info.error, info.location) == ("one", ModelState.FAILED, shown, Path(path).name)
    assert (await registry.load("one", path)).state == ModelState.READY


async def test_a_load_that_is_cancelled_leaves_no_name(
    registry: Registry, zoo: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(torchscript, "load", wait)
    loading = asyncio.ensure_future(registry.load("one", str(zoo("doc_model"))))
    await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert registry.infos() == []


async def test_a_model_is_loaded_for_its_own_device(zoo: Callable[[str], Path]) -> None:
    registry = Registry(FAST.model_copy(update={"model_device": ("card=cuda:99",)}))
    with pytest.raises(ModelError, match="there is no device cuda:99"):
        await registry.load("card", str(zoo("doc_model")))
    assert (await registry.load("other", str(zoo("doc_model")))).details["device"] == "cpu"
    await registry.close()


async def test_the_first_that_can_is_the_default(registry: Registry, zoo: Callable[[str], Path]) -> None:
    await registry.load("vectors", str(zoo("embedding_tensor")))
    await registry.load("first", str(zoo("doc_model")))
    await registry.load("second", str(zoo("docnn_mask")))
    defaults = {info.name: info.default_for for info in registry.infos()}
    assert defaults["vectors"] == ["embed", "embed_batch", "embed_matrix"]
    assert defaults["first"] == ["predict", "predict_batch", "classify"]
    assert defaults["second"] == []

    await registry.unload("first")
    assert registry.model(Capability.CLASSIFY, None) is registry.model(Capability.CLASSIFY, "second")
    await registry.load("first", str(zoo("doc_model")))
    assert registry.model(Capability.CLASSIFY, None) is registry.model(Capability.CLASSIFY, "second"), (
        "what is loaded again comes last"
    )


async def test_a_swap_keeps_the_place(registry: Registry, zoo: Callable[[str], Path]) -> None:
    before = await registry.load("first", str(zoo("doc_model")))
    await registry.load("second", str(zoo("docnn_mask")))
    old = registry.model(Capability.CLASSIFY, None)
    after = await registry.load("first", str(zoo("docnn_mask")))
    assert registry.model(Capability.CLASSIFY, None) is not old
    assert after.default_for == before.default_for == ["predict", "predict_batch", "classify"]
    assert after.version != before.version
    assert [info.name for info in registry.infos()] == ["first", "second"]


async def test_the_version_is_the_files_content(registry: Registry, zoo: Callable[[str], Path], tmp_path: Path) -> None:
    copy = shutil.copy(zoo("doc_model"), tmp_path / "copy.pt")
    versions = [(await registry.load("one", str(path))).version for path in (zoo("doc_model"), copy, zoo("docnn_mask"))]
    assert versions[0] == versions[1] != versions[2]
    assert len(versions[0]) == 12


async def test_another_server_is_asked_for_its_version_once_the_model_is_there(
    registry: Registry, zoo: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that it may have none yet."""
    asked: list[str] = []
    model = await kinds.load(str(zoo("doc_model")), FAST)

    async def load(*_: object) -> object:
        await asyncio.sleep(0.01)
        asked.append("model")
        return model

    async def version_of(_: object) -> str:
        asked.append("version")
        return "1"

    monkeypatch.setattr(kinds, "load", load)
    monkeypatch.setattr(kinds, "version_of", version_of)
    assert (await registry.load("remote", "tfserving://127.0.0.1:8500/model")).version == "1"
    assert asked == ["model", "version"]


async def test_the_old_model_answers_until_the_new_one_is_there(registry: Registry, zoo: Callable[[str], Path]) -> None:
    await registry.load("one", str(zoo("doc_model")))
    loading = asyncio.create_task(registry.load("one", str(zoo("docnn_mask"))))
    answers = 0
    while not loading.done():
        scores = await result(registry.model(Capability.CLASSIFY, "one").predict("set", ITS_OWN_SCORES, context()))
        assert len(scores) == 3
        answers += 1
    await loading
    assert answers > 0


async def test_a_swap_that_fails_leaves_the_old_model(registry: Registry, zoo: Callable[[str], Path]) -> None:
    before = await registry.load("one", str(zoo("doc_model")))
    with pytest.raises(ModelError, match="pixels"):
        await registry.load("one", str(zoo("foreign_input")))
    assert registry.infos() == [before]


async def test_a_new_name_that_fails_is_forgotten_unless_the_command_line_named_it(
    registry: Registry, zoo: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError):
        await registry.load("stranger", str(zoo("foreign_input")))
    assert registry.infos() == []
    registry.announce("required", str(zoo("foreign_input")))
    with pytest.raises(ModelError):
        await registry.load("required", str(zoo("foreign_input")))
    (info,) = registry.infos()
    assert info.state == ModelState.FAILED
    assert "pixels" in info.error
    assert registry.unready() == ["model required is failed"]


async def test_names_that_are_no_names(registry: Registry, zoo: Callable[[str], Path]) -> None:
    for name in ("", " ", "a b", ".hidden", "x" * 129, "a/b/c", "/a", "a/", "a/.b", "ö", "a\n"):
        with pytest.raises(ModelError, match="cannot be a model's name"):
            await registry.load(name, str(zoo("doc_model")))
    registry.announce("twice", str(zoo("doc_model")))
    with pytest.raises(ModelError, match="two models are named 'twice'"):
        registry.announce("twice", str(zoo("doc_model")))


async def test_errors_of_a_choice(registry: Registry, zoo: Callable[[str], Path]) -> None:
    await registry.load("one", str(zoo("doc_model")))
    unknown = error_of(registry.model, Capability.CLASSIFY, "two" * 100)
    assert unknown.code == ErrorCode.NOT_FOUND
    assert "loaded: one" in unknown.message
    assert len(unknown.message) < 200
    assert error_of(registry.model, Capability.EMBED, "one").code == ErrorCode.INVALID_ARGUMENT
    for capability, wanted in {
        Capability.REPLY: "Smart Reply",
        Capability.EMBED: "sentence encoder",
        Capability.GENERATE: "text generator",
    }.items():
        error = error_of(registry.model, capability, None)
        assert error.code == ErrorCode.NOT_FOUND
        assert wanted in error.message


async def test_counters_of_a_model(registry: Registry, zoo: Callable[[str], Path]) -> None:
    await registry.load("one", str(zoo("doc_model")))
    await result(registry.model(Capability.CLASSIFY, None).predict("set an alarm", ITS_OWN_SCORES, context()))
    (status,) = registry.statuses()
    assert (status.name, status.state) == ("one", ModelState.READY)
    assert (status.accepted, status.completed, status.batches, status.queue_depth) == (1, 1, 1, 0)


def context() -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + 60 * 10**9, None)


async def test_one_model_under_two_names_is_loaded_once(registry: Registry, zoo: Callable[[str], Path]) -> None:
    path = zoo("doc_model")
    await registry.load("one", str(path))
    await registry.load("two", f"{path.parent}/../{path.parent.name}/{path.name}")
    model = registry.model(Capability.CLASSIFY, "one")
    assert registry.model(Capability.CLASSIFY, "two") is model
    await registry.unload("one")
    assert await result(registry.model(Capability.CLASSIFY, "two").predict("hello", ITS_OWN_SCORES, context()))
    await registry.load("two", str(path))
    assert registry.model(Capability.CLASSIFY, "two") is not model, "loading a name again reads the files again"


async def test_models_that_differ_are_not_shared(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    registry = Registry(FAST.model_copy(update={"model_device": ("four=cpu:0",)}))
    path = tmp_path / "model.pt"
    shutil.copy(zoo("doc_model"), path)
    await registry.load("one", str(path))
    shutil.copy(zoo("docnn_mask"), path)  # another model at the same place
    await registry.load("two", str(path))
    await registry.load("three", str(path))
    await registry.load("four", str(path))
    one, two, three, four = (registry.model(Capability.CLASSIFY, name) for name in ("one", "two", "three", "four"))
    assert one is not two
    assert two is three
    assert three is not four
    await registry.close()
