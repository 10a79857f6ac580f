"""What a call gets that waits for a Pending, for tests that are tasks of asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from server.calls import drive
from server.errors import PredictionError

if TYPE_CHECKING:
    from collections.abc import Awaitable

_TIMEOUT_S = 60


async def result(pending: Awaitable[Any], timeout_s: float = _TIMEOUT_S) -> Any:
    """Its result, driven as the transport drives calls."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def call() -> Any:
        return await pending

    drive(call(), lambda value, error: future.set_exception(error) if error else future.set_result(value))
    return await asyncio.wait_for(future, timeout_s)


async def error_of(pending: Awaitable[Any]) -> PredictionError:
    """The error that it gets instead."""
    with pytest.raises(PredictionError) as caught:
        await result(pending)
    return caught.value
