"""A loaded model that is swapped while a job runs, for one of another kind too."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from predictor.ttypes import ErrorCode

from server.batch.methods.loaded_models import LoadedModels
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.methods.text_model import TextModel
from server.batch.state.control import Control
from server.batch.state.errors import RowError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.models.capabilities import Capability
    from server.models.requests import RequestContext

LIMITS = SimpleNamespace(queue_items=64)


class Closed:
    """A model whose own threads gather results, and which is gone when they are waited for."""

    limits = LIMITS

    def bulk(self, _texts: list[str]) -> Closed:
        return self

    def submit(self) -> None:
        raise RuntimeError("closed")


class Plain:
    """A model that the event loop asks."""

    limits = LIMITS

    async def predict(self, doc: str, _classification: Any, _context: RequestContext) -> dict[str, float]:
        return {doc: 1.0}


class Stuck(Plain):
    """The same, but it never answers. `abandoned` is set when a caller gives up."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()

    async def predict(self, doc: str, _classification: Any, _context: RequestContext) -> dict[str, float]:
        try:
            await asyncio.Event().wait()
        finally:
            self.abandoned.set()
        return {doc: 1.0}


class Registry:
    """Has one model."""

    def __init__(self, only: Any) -> None:
        self.only = only

    def model(self, _capability: Capability, _name: str | None, field: str | None) -> Any:
        return self.only


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    new = asyncio.new_event_loop()
    thread = threading.Thread(target=new.run_forever)
    thread.start()
    yield new
    new.call_soon_threadsafe(new.stop)
    thread.join()
    new.close()


def swapped(loop: asyncio.AbstractEventLoop, before: Any, after: Any) -> Any:
    """Results that were submitted to one model and are waited for when there is the other."""
    registry = Registry(before)
    results = TextModel(LoadedModels(cast("Any", registry), loop), "predict", None, Control()).submit(["a", "b"])
    registry.only = after
    return results


def test_model_of_another_kind_answers_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    assert swapped(loop, Closed(), Plain()).wait(Control()) == [b'"scores":{"a":1.0}', b'"scores":{"b":1.0}']


def test_what_is_left_is_cancelled_too(loop: asyncio.AbstractEventLoop) -> None:
    stuck = Stuck()
    results = swapped(loop, Closed(), stuck)
    control = Control()
    threading.Timer(0.3, control.stop).start()
    with pytest.raises(StoppedError):
        results.wait(control)
    results.cancel()
    assert stuck.abandoned.wait(10)


class Native:
    """A model whose own threads write JSON, in which numbers that are none are null."""

    limits = LIMITS

    def bulk(self, texts: list[str]) -> Written:
        return Written(texts)


class Written:
    """Its results: the texts themselves are what comes after the method's name."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def submit(self) -> bool:
        return True

    def wait(self, _seconds: float) -> bool:
        return True

    def results(self, name: bytes) -> list[bytes]:
        return [name + text.encode() for text in self.texts]


@pytest.mark.parametrize(
    ("method", "written", "finite"),
    [
        ("predict", '{"null":0.5,"b":1.0}', True),
        ("predict", '{"a":null,"b":1.0}', False),
        ("embed", "[0.5,1.0]", True),
        ("embed", "[0.5,null]", False),
    ],
)
def test_numbers_that_are_none_are_an_error(
    loop: asyncio.AbstractEventLoop, method: str, written: str, finite: bool
) -> None:
    model = TextModel(LoadedModels(cast("Any", Registry(Native())), loop), method, None, Control())
    (result,) = model.submit([written]).wait(Control())
    if finite:
        assert result == TEXT_METHODS[method].native_result + written.encode()  # type: ignore[operator]
    else:
        assert isinstance(result, RowError)
        assert result.code == ErrorCode.INTERNAL
