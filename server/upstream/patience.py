"""How long a call of a server that cannot be reached is made again, for all calls of it together."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from server.upstream.errors import BusyError, UnavailableError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_LONGEST_HOLD_S = 1.0  # so long nobody asks a server that has too much to do; it may have asked for more


class Patience:
    """Belongs to one event loop. While the server is away longer than `retry_s`, a call is made twice, at once.

    Twice, as the first time may have been on a connection that the server had just closed.
    """

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._away_since: float | None = None
        self._held_until = 0.0

    async def call(self, call: Callable[[], Awaitable[T]], may_repeat: Callable[[], bool] = lambda: True) -> T:
        """The call's result. `may_repeat`: whether nothing of an answer has been handed on. Raises UpstreamError."""
        time = asyncio.get_running_loop().time
        pause = 0.0
        while True:
            if (held := self._held_until - time()) > 0:
                raise BusyError("it had too much to do a moment ago", round(held * 1000) + 1)
            try:
                result = await call()
            except UnavailableError:
                if self._away_since is None:
                    self._away_since = time()
                if not may_repeat() or (pause > 0 and time() - self._away_since >= self._retry_s):
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, _LONGEST_PAUSE_S) or _FIRST_PAUSE_S
            except BusyError as error:
                self._away_since = None
                self._held_until = time() + min(error.retry_after_ms / 1000, _LONGEST_HOLD_S)
                raise
            except UpstreamError:
                self._away_since = None
                raise
            else:
                self._away_since = None
                return result
