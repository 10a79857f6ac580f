"""Signals that end a process, and those that do not."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from process import signals

if TYPE_CHECKING:
    import pytest


async def test_a_signal_in_the_first_second_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[tuple[str, int]] = []
    signals.on_signals(lambda number: came.append(("first", number)), lambda number: came.append(("second", number)))
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.raise_signal(number)
        await asyncio.sleep(0.01)
    assert came == [("first", signal.SIGTERM)]
    monkeypatch.setattr(signals, "SAME_S", 0.0)  # the second is over
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(0.01)
    assert came == [("first", signal.SIGTERM), ("second", signal.SIGINT)]
