"""Who answers the calls of the contract: Thrift servers, or the process's own handlers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from predictor.ttypes import RequestOptions

from rest_proxy.http.fast.direct import DirectRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from process.security.access import Visit
    from rest_proxy.backend.contract import Method


T = TypeVar("T")


class Server(Protocol):
    """One server, as the routes for operators show it."""

    @property
    def address(self) -> object:
        """Where it is; `str` of it is for people."""

    @property
    def calls(self) -> int:
        """Calls in flight."""

    @property
    def connections(self) -> int:
        """Connections to it."""

    @property
    def status(self) -> Any:
        """The contract's ServerStatus, as it was when last asked; None before."""

    @property
    def reachable(self) -> bool:
        """Whether it answers at all."""

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""

    @property
    def reason(self) -> str | None:
        """Why it takes none; None when it does."""


class Running(Protocol):
    """What `Pool.run` has started."""

    def cancel(self) -> object:
        """Stop it where it waits."""


class Pool(ABC):
    """The servers, and calls to them."""

    @property
    @abstractmethod
    def upstreams(self) -> Sequence[Server]:
        """Every server."""

    async def start(self) -> None:  # noqa: B027 - not all have something to do
        """Called before the first call."""

    async def close(self) -> None:  # noqa: B027
        """Called after the last call."""

    @abstractmethod
    async def probe(self) -> None:
        """Ask every server for its status now."""

    async def call(self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False) -> Any:
        """The method's result from one of the servers, within `timeout_ms` milliseconds and the setting grace_ms.

        Raises PredictionError, TApplicationException, and UnicodeEncodeError for arguments that cannot be sent.
        `alone`: it is slow by nature, and must not make others wait.
        """
        result, _ = await self.call_somewhere(method, *arguments, timeout_ms=timeout_ms, alone=alone)
        return result

    @abstractmethod
    async def call_somewhere(
        self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False
    ) -> tuple[Any, Server]:
        """As `call`, and the server that answered, for calls that must go to the same one again."""

    @abstractmethod
    async def call_at(self, upstream: Server, method: Method, *arguments: Any, timeout_ms: int) -> Any:
        """The method's result from this server and no other, tried once; raises as `call` does."""

    @abstractmethod
    async def message(self, message: bytes, *, is_oneway: bool) -> bytes:
        """The answer of one of the servers to a Thrift message that has no frame, as it is; to a oneway one nothing.

        Raises PredictionError when no server could answer.
        """

    @abstractmethod
    def act(self, visit: Visit, begin: Callable[..., T], *arguments: Any) -> T:
        """What `begin(*arguments)` gives; its calls, and those of requests that it runs, are the caller's."""

    @property
    @abstractmethod
    def visit(self) -> Visit | None:
        """Whose request is answered now."""

    @abstractmethod
    def run(self, request: Coroutine[Any, Any, Any], on_done: Callable[[Any, BaseException | None], object]) -> Running:
        """Run a request that makes calls here and waits for nothing else.

        `on_done` is called once with its result, or with what it raised, but not when it is cancelled by `Running`.
        """

    def begin(
        self,
        method: Method,
        *arguments: Any,
        timeout_ms: int,
        on_done: Callable[[Any, BaseException | None], object],
        as_json: bool = False,
    ) -> Running:
        """A call without a coroutine around it: what `call` gives or raises, `on_done` is called with, as by `run`.

        All text in `arguments` is valid Unicode. `as_json`, of PREDICT: the scores may come in bytes, as json_response
        writes them, best first.
        """
        return self.run(self.call(method, *arguments, timeout_ms=timeout_ms), on_done)

    def calls_of(self, method: Method, timeout_ms: int, *more: Any, as_json: bool = False) -> MethodCalls:
        """What makes calls of a method that takes a text, options and `more`, with no other options than these.

        See `begin`.
        """
        return MethodCalls(self, method, timeout_ms, *more, as_json=as_json)


class MethodCalls:
    """See Pool.calls_of."""

    request = DirectRequest
    """What they are for."""

    def __init__(self, pool: Pool, method: Method, timeout_ms: int, *more: Any, as_json: bool) -> None:
        self._act = pool.act
        self._begin = partial(pool.begin, method, timeout_ms=timeout_ms, as_json=as_json)
        self._more = more
        self.timeout_ms = timeout_ms

    def begin(self, text: str, request: DirectRequest, visit: Visit | None) -> None:
        """Begin a call about a text; the request is told the outcome. `visit`: whose it is, where that counts."""
        options = RequestOptions(None, self.timeout_ms, None, request.request_id)
        begin = partial(self._begin, text, options, *self._more, on_done=request.done)
        running = begin() if visit is None else self._act(visit, begin)
        if request.client is not None and request.running is None:
            request.running = running
