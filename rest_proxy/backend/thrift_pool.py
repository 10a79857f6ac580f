"""Calls spread over Thrift servers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, TypeVar

from predictor.ttypes import ErrorCode, PredictionError

from process.security.tls import client_tls_of
from process.security.visits import VISIT
from rest_proxy.backend.connection import ConnectionLost, DeadlinePassed
from rest_proxy.backend.pool import Pool
from rest_proxy.backend.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from process.security.access import Visit
    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Server
    from rest_proxy.config import Settings

_TRIES = 2

T = TypeVar("T")


class ThriftPool(Pool):
    """Every server, and the choice between them: the one with the fewest calls in flight of those that are ready.

    When none is ready, one that is reachable gets the call all the same and says itself what is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.tls = client_tls_of(settings.thrift_ca, settings.thrift_certificate)
        """With what the servers are called; None: plain TCP."""
        self._upstreams = [Upstream(address, settings, self._loop, self.tls) for address in settings.thrift]

    @property
    def upstreams(self) -> list[Upstream]:
        """Every server."""
        return self._upstreams

    async def start(self) -> None:
        """Ask every server for its status; afterwards they are watched."""
        await asyncio.gather(*(upstream.start() for upstream in self.upstreams))

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(upstream.close() for upstream in self.upstreams))

    async def probe(self) -> None:
        """Ask every server for its status now."""
        await asyncio.gather(*(upstream.probe() for upstream in self.upstreams))

    async def call(self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False) -> Any:
        """See Pool.

        A call is tried once more, on another server where there is one, when the first refused it as UNAVAILABLE, or
        when its connection broke and it had not been sent or is idempotent. `alone`: see Upstream.
        """
        result, _ = await self.call_somewhere(method, *arguments, timeout_ms=timeout_ms, alone=alone)
        return result

    async def call_somewhere(
        self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False
    ) -> tuple[Any, Upstream]:
        """As `call`, and the server that answered, for calls that must go to the same one again."""
        deadline = self._loop.time() + (timeout_ms + self._settings.grace_ms) / 1000
        tried: Upstream | None = None
        failure: PredictionError | None = None
        refused = False
        for _ in range(_TRIES):
            upstream = self._choose(tried)
            if upstream is None or (upstream is tried and refused):
                break
            try:
                return await upstream.call(method, arguments, deadline, alone=alone), upstream
            except DeadlinePassed:
                raise self._late(upstream, timeout_ms) from None
            except ConnectionLost as lost:
                failure = self._lost(upstream, lost)
                if lost.sent and not method.idempotent:
                    break
            except PredictionError as error:
                if error.code != ErrorCode.UNAVAILABLE:
                    raise
                failure, refused = error, True
                upstream.cool_down(error.retry_after_ms)
            tried = upstream
        raise failure or self._unavailable(self._why_unreachable())

    async def call_at(self, upstream: Server, method: Method, *arguments: Any, timeout_ms: int) -> Any:
        """The method's result from this server and no other, tried once and alone; raises as `call` does."""
        assert isinstance(upstream, Upstream)
        deadline = self._loop.time() + (timeout_ms + self._settings.grace_ms) / 1000
        try:
            return await upstream.call(method, arguments, deadline, alone=True)
        except DeadlinePassed:
            raise self._late(upstream, timeout_ms) from None
        except ConnectionLost as lost:
            raise self._lost(upstream, lost) from None

    async def message(self, message: bytes, *, is_oneway: bool) -> bytes:
        """See Pool. It is tried once more, elsewhere where there is another server, when it could not be sent."""
        timeout_ms = self._settings.max_timeout_ms
        tried: Upstream | None = None
        failure: PredictionError | None = None
        for _ in range(_TRIES):
            upstream = self._choose(tried)
            if upstream is None:
                break
            try:
                async with asyncio.timeout((timeout_ms + self._settings.grace_ms) / 1000):
                    return await upstream.message(message, is_oneway=is_oneway)
            except TimeoutError:
                raise self._late(upstream, timeout_ms) from None
            except ConnectionLost as lost:
                failure = self._lost(upstream, lost)
                if lost.sent:
                    break
            tried = upstream
        raise failure or self._unavailable(self._why_unreachable())

    def act(self, visit: Visit, begin: Callable[..., T], *arguments: Any) -> T:
        """See Pool."""
        before = VISIT.set(visit)
        try:
            return begin(*arguments)  # tasks have what is set when they are made
        finally:
            VISIT.reset(before)

    @property
    def visit(self) -> Visit | None:
        """See Pool."""
        return VISIT.get()

    def run(
        self,
        request: Coroutine[Any, Any, Any],
        on_done: Callable[[Any, BaseException | None], object],
    ) -> asyncio.Task[Any]:
        """See Pool."""

        def done(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                error = task.exception()
                on_done(None if error else task.result(), error)

        task = self._loop.create_task(request)
        task.add_done_callback(done)
        return task

    def _choose(self, tried: Upstream | None) -> Upstream | None:
        upstreams = self.upstreams
        if len(upstreams) == 1:
            return upstreams[0] if upstreams[0].reachable else None
        others = [upstream for upstream in upstreams if upstream is not tried and upstream.reachable]
        ready = [upstream for upstream in others if upstream.ready]
        candidates = ready or others
        if not candidates:
            return tried if tried is not None and tried.reachable else None
        return min(candidates, key=lambda upstream: (upstream.calls, random.random()))

    def _late(self, upstream: Upstream, timeout_ms: int) -> PredictionError:
        message = f"no answer from {upstream.address} in {timeout_ms} ms and {self._settings.grace_ms} ms grace"
        return PredictionError(ErrorCode.DEADLINE_EXCEEDED, message)

    def _lost(self, upstream: Upstream, lost: ConnectionLost) -> PredictionError:
        return self._unavailable(f"{upstream.address} gave no answer: {lost}")

    def _unavailable(self, message: str) -> PredictionError:
        return PredictionError(ErrorCode.UNAVAILABLE, message, self._settings.status_interval_ms)

    def _why_unreachable(self) -> str:
        reasons = "; ".join(f"{upstream.address}: {upstream.reason}" for upstream in self.upstreams)
        return f"no server can be reached ({reasons})"
