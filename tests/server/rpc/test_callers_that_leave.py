"""Callers that go away while what they asked for is refused: nobody is left to be told, and nothing is logged."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchRequest, ServerStatus

from server.calls import drive
from server.config import Settings
from server.errors import invalid_argument
from server.rpc.handler import Handler
from tests.support.letters import registry_of

if TYPE_CHECKING:
    from pathlib import Path


class SlowRefusal:
    """Batch jobs that say no when they are told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def submit(self, _request: BatchRequest) -> Any:
        await self.go.wait()
        raise invalid_argument("no", field="request.input")


@pytest.mark.parametrize("method", ["submit_batch", "load_model"])
async def test_nothing_is_said_of_a_refusal_that_nobody_waits_for(method: str, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context))
    settings, jobs = Settings(model_root=tmp_path), SlowRefusal()
    handler = Handler(registry_of(settings), settings, lambda: ServerStatus("", 0.0, True, [], 0, []), jobs)  # type: ignore[arg-type]
    (tmp_path / "broken.pt").write_bytes(b"no model")
    work = handler.submit_batch(BatchRequest()) if method == "submit_batch" else handler.load_model("m", "broken.pt")
    call = drive(work, lambda *_: pytest.fail("it was cancelled"))
    await asyncio.sleep(0)
    call.cancel()
    jobs.go.set()
    async with asyncio.timeout(60):
        while handler._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    gc.collect()
    assert said == []
