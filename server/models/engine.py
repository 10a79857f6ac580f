"""A C++ engine on the event loop: requests go in by submit, outcomes come back through its file descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from ext._batching import Admission, Lane, Status
from process.timing import TIMES
from server.calls import WAITING, Pending, PlainCall
from server.errors import (
    PredictionError,
    deadline_exceeded,
    internal,
    invalid_argument,
    overloaded,
    too_large,
    unavailable,
)
from server.models.busy_poll import BusyPoll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ext._native import NativeEngine
    from server.models.requests import RequestContext

T = TypeVar("T")
Item = TypeVar("Item")

log = structlog.get_logger()

# How often deadlines of waiting and running requests are looked at, in seconds.
SWEEP_S = 0.01

_LONGEST_RETRY_MS = 10_000
_OK = int(Status.OK)
_INTERACTIVE = int(Lane.INTERACTIVE)

_IS_FULL = "the model's queue is full"
_FULL = {
    int(Admission.QUEUE_FULL): (_IS_FULL, "queue_items"),
    int(Admission.QUEUE_TOKENS_FULL): (_IS_FULL, "queue_tokens"),
    int(Admission.QUEUE_BYTES_FULL): (_IS_FULL, "queue_bytes"),
    int(Admission.SHARE_FULL): ("so many of your requests wait for the model as may", "client_share"),
}


class _Request(Pending[Any]):
    """A request in the engine. When its caller goes away it leaves the queue.

    It refers to nothing that refers to it: a cycle for every request would be the garbage collector's work, which
    stops the loop for milliseconds.
    """

    __slots__ = ("convert", "engine", "id", "request_id", "times")

    def __init__(
        self, engine: NativeEngine, request_id: str | None, convert: Callable[[Any], Any] | None = None
    ) -> None:
        # Pending's own, without its call: there is one of these for every request.
        self._value = WAITING
        self._error = None
        self._on_done = None
        self.on_abandon = None
        self.tokens = None
        self.engine = engine
        self.request_id = request_id
        self.convert = convert
        self.id = 0
        self.times = TIMES.get()

    def abandon(self) -> None:
        if not self.done():
            self.engine.cancel(self.id)


class Engine:
    """Belongs to the event loop that runs when it is made.

    `byte_limit`: what a text is told that the native engine refuses for its bytes, and the setting of that limit.
    """

    def __init__(
        self, native: NativeEngine, max_tokens: int, busy_poll_us: int = 0, byte_limit: tuple[str, str] = ("", "")
    ) -> None:
        self._native = native
        self._max_tokens = max_tokens
        self._byte_limit = byte_limit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(native.fd, self._deliver)
        self._wake_scheduled = False
        self._closed = False
        self._timed = False
        """Whether somebody has ever wanted to know how long a request took."""
        self._busy_poll = BusyPoll(self._loop, busy_poll_us)
        self._rate = _Rate(self._loop.time)
        self._sweep()

    def submit(
        self, *payload: Any, context: RequestContext, convert: Callable[[Any], Any] | None = None, form: Any = None
    ) -> Pending[Any]:
        """Queue a request. `payload` is what the native engine's submit takes first. Raises PredictionError.

        `convert` makes the result of the engine's value, on the event loop; what it raises is the request's error.
        `form`, of an engine that knows some: the value may be bytes in it.
        """
        if self._closed:
            raise self._refusal(Admission.DRAINING)
        request = _Request(self._native, context.request_id, convert)
        client = context.client
        flow = client.flow if client is not None else 0
        if form is not None:
            admitted = self._native.submit(*payload, context.lane, context.deadline_ns, request, flow, form)
        else:
            admitted = self._native.submit(*payload, context.lane, context.deadline_ns, request, flow)
        if admitted < 0:
            raise self._refusal(-admitted)
        request.id = admitted
        if request.times is not None:
            self._timed = True
        if not self._wake_scheduled:  # one wake-up for all requests that this pass of the loop brings
            self._wake_scheduled = True
            self._loop.call_soon(self._wake)
        return request

    def begin(self, text: str, deadline_ns: int, flow: int, call: PlainCall, form: Any) -> None:
        """As submit, on the interactive lane: `call` is told the outcome. Raises PredictionError."""
        if self._closed:
            raise self._refusal(Admission.DRAINING)
        native = self._native
        admitted = native.submit(text, _INTERACTIVE, deadline_ns, call, flow, form)
        if admitted < 0:
            raise self._refusal(-admitted)
        call.engine, call.id = native, admitted
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._loop.call_soon(self._wake)

    def stats(self) -> dict[str, int]:
        """The native engine's counters; none once it is closed. Any thread may ask."""
        try:
            return self._native.stats()
        except RuntimeError:
            return {}

    def drain(self) -> None:
        """Refuse new requests."""
        self._native.drain()

    async def close(self) -> None:
        """Wait until every accepted request is answered, then end the engine."""
        self._native.drain()
        while self._busy():  # noqa: ASYNC110 - rare, and the workers have no event to set
            await asyncio.sleep(SWEEP_S)
        self._sweeper.cancel()
        self._loop.remove_reader(self._native.fd)
        self._deliver()  # what the last request that ran has told meanwhile
        self._closed = True
        self._hand_out(await self._loop.run_in_executor(None, self._native.close))

    def _busy(self) -> bool:
        stats = self._native.stats()
        return bool(stats["waiting"] or stats["running"])

    def _wake(self) -> None:
        self._wake_scheduled = False
        if not self._closed and self._native.wake():  # a request that was alone was run on this thread
            self._deliver()
            self._busy_poll.begin()

    def _sweep(self) -> None:
        self._native.sweep()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _deliver(self) -> None:
        outcomes = self._native.results()
        self._rate.count(len(outcomes))
        self._hand_out(outcomes)

    def _hand_out(self, outcomes: Sequence[tuple[_Request | PlainCall, int, Any]]) -> None:
        if self._timed:
            for (request, _, _), (queue_ns, model_ns) in zip(outcomes, self._native.times(), strict=True):
                if request.times is not None:
                    request.times.add(queue_ns, model_ns)
        for request, status, value in outcomes:
            try:
                if status != _OK:
                    request.fail(self._error(request, status, value))
                elif request.convert is None:
                    request.resolve(value)
                else:
                    _resolve_converted(request, value)
            except Exception:  # one caller's trouble is not its batch mates'
                log.exception("a result could not be handed over", request_id=request.request_id)

    def _error(self, request: _Request | PlainCall, status: int, message: str) -> PredictionError:
        if status == Status.DEADLINE_EXCEEDED:
            return deadline_exceeded(message)
        if status == Status.INVALID_ARGUMENT:
            return invalid_argument(message)
        if status == Status.UNAVAILABLE:
            return unavailable(message)
        request_id = request.request_id or uuid.uuid4().hex[:16]
        log.error("the model failed on a request", request_id=request_id, error=message)
        return internal("the model failed on this input; the server's log has the details", request_id)

    def _refusal(self, admission: int) -> PredictionError:
        if admission in _FULL:
            message, setting = _FULL[admission]
            retry_after_ms = self._rate.milliseconds_for(self._native.stats()["waiting"])
            return overloaded(message, retry_after_ms, setting=setting)
        if admission == Admission.TOO_LONG:
            return too_large(f"the text has more than {self._max_tokens} tokens", setting="max_tokens")
        if admission == Admission.TOO_MANY_BYTES:
            message, setting = self._byte_limit
            return too_large(message, setting=setting)
        if admission == Admission.DEADLINE_PASSED:
            return deadline_exceeded("the deadline had passed when the request came")
        return unavailable("the model is being unloaded", retry_after_ms=1000)


def _resolve_converted(request: Any, value: Any) -> None:
    convert, request.convert = request.convert, None  # it may refer to the request
    assert convert is not None
    try:
        result = convert(value)
    except Exception as error:
        request.fail(error)
    else:
        request.resolve(result)


class EngineModel:
    """What all models behind an engine have in common."""

    takes: frozenset[str] = frozenset()
    labels: Sequence[str] = ()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._preparing = 0

    @contextlib.contextmanager
    def _prepares(self) -> Iterator[None]:
        """While a request is made ready to be submitted, which close() waits for."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    async def _in_thread(self, work: Callable[[Item], T], text: Item) -> T:
        """What must be done with a long text, or many tokens, before it can be submitted; close() waits for it."""
        with self._prepares():
            return await asyncio.get_running_loop().run_in_executor(None, work, text)

    def stats(self) -> dict[str, int]:
        """The queue's counters."""
        return self._engine.stats()

    def drain(self) -> None:
        """Refuse new requests."""
        self._engine.drain()

    async def close(self) -> None:
        """Answer what was accepted, then free the model."""
        while self._preparing:  # noqa: ASYNC110 - rare
            await asyncio.sleep(SWEEP_S)
        await self._engine.close()


class _Rate:
    """How many requests an engine answers in a millisecond, over about the last second."""

    def __init__(self, time: Any) -> None:
        self._time = time
        self._since = time()
        self._answered = 0
        self._per_ms = 0.0

    def count(self, answered: int) -> None:
        self._answered += answered
        elapsed = self._time() - self._since
        if elapsed >= 1:
            self._per_ms = self._answered / (elapsed * 1000)
            self._since += elapsed
            self._answered = 0

    def milliseconds_for(self, requests: int) -> int:
        """How long so many will take; between 1 and 10,000, and 100 where nothing is known yet."""
        if self._per_ms == 0:
            return 100
        return max(1, min(_LONGEST_RETRY_MS, round(requests / self._per_ms)))
