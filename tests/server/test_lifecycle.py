"""Start, ready, drain, stop of a server within this process; whole processes are in tests/e2e."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from server.config import Settings
from server.lifecycle import Server, StartError
from tests.server.transport.thrift_clients import client
from tests.support.service import HOST, free_port, is_listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    """A server that starts changes how this process collects garbage."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def settings(*models: str | Path, **others: Any) -> Settings:
    others = {"port": 0, "http": "off", "warm_up_tokens": 0} | others
    return Settings(model=tuple(map(str, models)), **others)


def ask(port: int) -> Any:
    with client(port) as predictor:
        return predictor.predict("set an alarm", None), predictor.status()


async def test_from_start_to_stop(zoo: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(settings(zoo("doc_model")))
    assert server.status().uptime_s >= 0
    running = asyncio.create_task(server.run())
    port = await printed_port(capsys)
    assert gc.get_freeze_count() > 0

    scores, status = await asyncio.to_thread(ask, port)
    assert len(scores) == 3
    assert (status.ready, status.reasons, status.connections) == (True, [], 1)
    assert [model.name for model in status.models] == ["doc_model"]

    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 60)
    assert server.status().reasons == ["the server is draining"]
    assert not is_listening(port)


async def printed_port(capsys: pytest.CaptureFixture[str]) -> int:
    """The port in the line for scripts, when that has come; the log, which goes to stdout here, follows it."""
    out = ""
    async with asyncio.timeout(60):
        while (running := re.search(r"^Server running\. Thrift port: (\d+)\n", out, re.MULTILINE)) is None:
            await asyncio.sleep(0.01)
            out += capsys.readouterr().out
    return int(running[1])


async def test_a_model_that_cannot_be_loaded(tmp_path: Path, zoo: Callable[[str], Path]) -> None:
    port = free_port()
    for location, reason in ((tmp_path / "missing.pt", "no such file"), (zoo("foreign_input"), "pixels")):
        with pytest.raises(StartError) as caught:
            await Server(settings(location, port=port)).run()
        assert str(caught.value).startswith(f"{location}: ")
        assert reason in str(caught.value)
        assert not is_listening(port)


@pytest.mark.parametrize("setting", ["port", "metrics_port"])
async def test_a_port_that_is_taken(zoo: Callable[[str], Path], setting: str) -> None:
    with socket.create_server((HOST, 0)) as holder:
        taken = holder.getsockname()[1]
        with pytest.raises(StartError) as caught:
            await Server(settings(zoo("doc_model"), **{setting: taken})).run()
    assert str(caught.value) == f"cannot listen on {HOST}:{taken} (setting {setting}): Address already in use"


async def test_a_host_that_does_not_exist(zoo: Callable[[str], Path]) -> None:
    with pytest.raises(StartError, match=r"cannot listen on no\.such\.host\.invalid:0 \(setting port\): ."):
        await Server(settings(zoo("doc_model"), host="no.such.host.invalid", insecure=True)).run()
