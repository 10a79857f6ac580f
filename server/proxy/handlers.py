"""Calls of the HTTP routes answered by this process's own handlers: the contract's structs, and no bytes in between."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from process.security.access import Visit
from process.security.visits import VISIT
from process.timing import TIMES
from rest_proxy.backend.pool import MethodCalls, Pool
from rest_proxy.http.fast.direct import DirectRequest
from server.calls import Call, Pending, PlainCall, drive
from server.clients import CALLING, Client, new_flow, owner_of
from server.errors import deadline_exceeded, invalid_argument, presentable
from server.models.requests import AS_JSON
from server.transport.detect import ForeignBytesError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping

    from predictor.ttypes import PredictionError, ServerStatus

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Server
    from rest_proxy.config import Address, Settings
    from server.calls import PlainMethod
    from server.security.gate import Gate

T = TypeVar("T")

_SWEEP_S = 0.05
"""Seconds between two looks at deadlines: one timer for all calls."""


class ThisServer:
    """This process as the routes for operators show it, with its Thrift port for an address."""

    connections = 0
    reachable = True

    def __init__(self, address: Address, server_status: Callable[[], ServerStatus], calls: Collection[object]) -> None:
        self.address = address
        self.status: ServerStatus | None = None
        self._server_status = server_status
        self._calls = calls

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    @property
    def reason(self) -> str | None:
        """Why it takes no calls, now; None when it does."""
        self.status = status = self._server_status()
        return None if status.ready else "; ".join(status.reasons) or "not ready"

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self.reason is None


class HandlerPool(Pool):
    """Calls the methods of `handler`, which are what the Thrift port calls too. Belongs to the event loop.

    A deadline is the handler's own matter; a call that is `grace_ms` late is given up, as one over Thrift is.
    """

    def __init__(
        self,
        handler: object,
        server_status: Callable[[], ServerStatus],
        settings: Settings,
        address: Address,
        log: Any,
        answer: Callable[[bytes, Visit], Awaitable[bytes]],
        gate: Gate | None = None,
    ) -> None:
        """`answer`: of the Thrift server in this process, to a whole message."""
        self._gate = gate
        self._stranger = Visit(gate.access.nobody if gate is not None else None, "http", None)
        self._visit: Visit | None = None
        """Whose request runs without a task just now; of one in a task, VISIT knows."""
        self._handler = handler
        self._predict_json: Callable[..., Any] | None = getattr(handler, "predict_json", None)
        self._plain: Mapping[str, PlainMethod] = getattr(handler, "plain", {})
        self._answer = answer
        self._grace_ms = settings.grace_ms
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._calls: set[_Waiting] = set()
        self._this = ThisServer(address, server_status, self._calls)
        self._sweeper: asyncio.TimerHandle | None = None
        self._beginning: _Run | None = None

    @property
    def upstreams(self) -> tuple[ThisServer]:
        """This one."""
        return (self._this,)

    async def probe(self) -> None:
        """Nothing to do: whoever looks sees how it is now."""
        self._this.ready  # noqa: B018 - it notes the status

    async def message(self, message: bytes, *, is_oneway: bool) -> bytes:
        """See Pool."""
        del is_oneway  # it shows where the answer is made
        try:
            return await self._answer(message, self.visit or self._stranger)
        except ForeignBytesError as error:
            raise invalid_argument(str(error)) from None

    async def call(self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False) -> Any:
        """See Pool."""
        for argument in arguments:
            if argument.__class__ is str:
                if not argument.isascii():
                    argument.encode()
            elif argument is not None:
                _require_unicode(argument)
        work = self._work(method, arguments)
        run, self._beginning = self._beginning, None
        if run is not None:
            return await self._call_of_run(run, method, work, timeout_ms)
        # Of a task only a future can be awaited; without one, as in `run`, a Pending can, at a fraction of the cost.
        waiter: Any = Pending() if asyncio.current_task() is None else self._loop.create_future()
        call = _Call(self, method.name, waiter, self.deadline(timeout_ms), timeout_ms)
        call.start(work)
        try:
            return await waiter
        except BaseException:
            call.abandon()
            raise

    async def call_somewhere(
        self, method: Method, *arguments: Any, timeout_ms: int, alone: bool = False
    ) -> tuple[Any, Server]:
        """See Pool."""
        return await self.call(method, *arguments, timeout_ms=timeout_ms, alone=alone), self._this

    async def call_at(self, upstream: Server, method: Method, *arguments: Any, timeout_ms: int) -> Any:
        """See Pool."""
        return await self.call(method, *arguments, timeout_ms=timeout_ms)

    def act(self, visit: Visit, begin: Callable[..., T], *arguments: Any) -> T:
        """See Pool."""
        before, self._visit = self._visit, visit
        times_before = None if visit.times is None else TIMES.set(visit.times)
        try:
            return begin(*arguments)
        finally:
            self._visit = before
            if times_before is not None:
                TIMES.reset(times_before)

    @property
    def visit(self) -> Visit | None:
        """See Pool."""
        return self._visit or VISIT.get()

    def run(self, request: Coroutine[Any, Any, Any], on_done: Callable[[Any, BaseException | None], object]) -> Call:
        """See Pool. Without a task, as the Thrift port runs its calls."""
        visit = self._visit
        run = _Run(request, on_done, self) if visit is None else _RunOfCaller(request, on_done, self, visit)
        self._beginning = run
        run.step()
        self._beginning = None
        return run

    def begin(
        self,
        method: Method,
        *arguments: Any,
        timeout_ms: int,
        on_done: Callable[[Any, BaseException | None], object],
        as_json: bool = False,
    ) -> Call:
        """See Pool. Nothing but the handler's own coroutine, as for a call over Thrift."""
        name = method.name
        work = self._work(method, arguments, self._predict_json if as_json else None)
        begun = _Begun(work, on_done, self, name, timeout_ms)
        begun.step()
        if begun.waits:
            begun.deadline = self.deadline(timeout_ms)
            self.note(begun)
        return begun

    def calls_of(self, method: Method, timeout_ms: int, *more: Any, as_json: bool = False) -> MethodCalls:
        """See Pool. Without a coroutine where nobody has to look at the call."""
        plain = self._plain.get(method.name)
        if plain is None or not plain.takes_timeout(timeout_ms):
            return super().calls_of(method, timeout_ms, *more, as_json=as_json)
        return PlainCalls(self, plain, method, timeout_ms, *more, as_json=as_json)

    def _work(
        self, method: Method, arguments: tuple[Any, ...], function: Callable[..., Any] | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The handler's coroutine, or that of `function` for the same call; or one that refuses who calls."""
        if function is None:
            function = getattr(self._handler, method.name)
        if self._gate is None:
            CALLING.client = Client()  # the coroutine is run at once
            return function(*arguments)  # type: ignore[no-any-return]
        visit = self.visit or self._stranger
        if visit.kept is None:
            visit.kept = Client(owner_of(visit, None))
        CALLING.client = visit.kept.another()
        return self._gate.start(visit, method.name, function, arguments)

    async def _call_of_run(self, run: _Run, method: Method, work: Coroutine[Any, Any, Any], timeout_ms: int) -> Any:
        """The first call of a request: nearly always its only one, and so worth a way without objects of its own."""
        run.timeout_ms = timeout_ms
        run.deadline = self.deadline(timeout_ms)
        self.note(run)
        try:
            return await work
        except Exception as error:
            raise self.answer_to(error, method.name) from None
        finally:
            self.forget(run)

    # --------------------------------------------------------------------------------------------- of calls in progress

    def note(self, call: _Waiting) -> None:
        """A call waits."""
        self._calls.add(call)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def forget(self, call: _Waiting) -> None:
        """It waits no more."""
        self._calls.discard(call)

    def deadline(self, timeout_ms: int) -> float:
        """When a call with this timeout that begins now is given up, by time.monotonic."""
        return monotonic() + self.patience_s(timeout_ms)

    def patience_s(self, timeout_ms: int) -> float:
        """How long a call with this timeout may take, in seconds."""
        return (timeout_ms + self._grace_ms) / 1000

    def answer_to(self, error: BaseException, method: str) -> PredictionError:
        """What the caller gets to see of an error."""
        return presentable(error, method, self._log)

    def late(self, timeout_ms: int) -> PredictionError:
        """The handler did not keep the deadline."""
        return deadline_exceeded(f"no answer in {timeout_ms} ms and {self._grace_ms} ms grace")

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep) if self._calls else None
        now = monotonic()
        for call in [call for call in self._calls if call.deadline < now]:
            call.give_up()


class _Run(Call):
    """A request that runs without a task. `deadline` is that of its first call, while that is in progress."""

    __slots__ = ("_pool", "deadline", "timeout_ms")

    def __init__(
        self,
        request: Coroutine[Any, Any, Any],
        on_done: Callable[[Any, BaseException | None], object],
        pool: HandlerPool,
    ) -> None:
        super().__init__(request, on_done)
        self._pool = pool
        self.deadline = 0.0
        self.timeout_ms = 0

    def give_up(self) -> None:
        """Its call is too late."""
        self.fail(self._pool.late(self.timeout_ms))


class _RunOfCaller(_Run):
    """One whose calls are its caller's, whatever else runs between two of its steps."""

    __slots__ = ("_visit",)

    def __init__(
        self,
        request: Coroutine[Any, Any, Any],
        on_done: Callable[[Any, BaseException | None], object],
        pool: HandlerPool,
        visit: Visit,
    ) -> None:
        super().__init__(request, on_done, pool)
        self._visit = visit

    def step(self, awaited: object = None) -> None:
        """See Call."""
        self._pool.act(self._visit, super().step, awaited)

    def fail(self, error: BaseException) -> None:
        """See Call."""
        self._pool.act(self._visit, super().fail, error)


class _Begun(Call):
    """A call whose end is told to `on_answer`, and that is noted while it waits."""

    __slots__ = ("_method", "_on_answer", "_pool", "_timeout_ms", "deadline", "waits")

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        on_answer: Callable[[Any, BaseException | None], object],
        pool: HandlerPool,
        method: str,
        timeout_ms: int,
    ) -> None:
        self._coroutine = work
        self._on_answer = on_answer
        self._pool = pool
        self._method = method
        self._timeout_ms = timeout_ms
        self.deadline = 0.0
        self.waits = True

    def cancel(self) -> None:
        """Stop it where it waits."""
        self._pool.forget(self)
        super().cancel()

    def give_up(self) -> None:
        """It is too late."""
        self.fail(self._pool.late(self._timeout_ms))

    def _on_done(self, value: Any, error: BaseException | None) -> None:
        self.waits = False
        self._pool._calls.discard(self)
        self._on_answer(value, None if error is None else self._pool.answer_to(error, self._method))


class PlainRequest(DirectRequest, PlainCall):
    """A request that is told its outcome by an engine, and that is noted while it waits for that."""

    __slots__ = ("engine", "id", "model")

    calls: PlainCalls
    request_id: str

    @property
    def deadline(self) -> float:
        """When it is given up, by time.monotonic."""
        return self.began_ns / 1e9 + self.calls.patience_s

    def resolve(self, value: Any) -> None:
        """See PlainCall."""
        calls = self.calls
        if value.__class__ is not bytes:
            try:
                value = calls.plain.checked(self, value)
            except Exception as error:
                self._end_with(error)
                return
        calls.forget(self)
        self.answer(value)

    def fail(self, error: Exception) -> None:
        """See PlainCall."""
        self._end_with(self.calls.plain.explained(error, timeout_named=True))

    def cancel(self) -> None:
        """Its client is gone."""
        super().cancel()
        if self.calls.waits(self):
            self.calls.forget(self)
            self.leave_engine()

    def give_up(self) -> None:
        """It is too late."""
        self.leave_engine()
        self.fail(self.calls.late())

    def _end_with(self, error: BaseException) -> None:
        self.calls.forget(self)
        self.done(None, self.calls.answer_to(error))


class PlainCalls(MethodCalls):
    """Calls without a coroutine, of a method that can be called so: those at which nobody has to look."""

    request = PlainRequest

    def __init__(
        self, pool: HandlerPool, plain: PlainMethod, method: Method, timeout_ms: int, *more: Any, as_json: bool
    ) -> None:
        super().__init__(pool, method, timeout_ms, *more, as_json=as_json)
        self.plain = plain
        self.waits, self.forget = pool._calls.__contains__, pool._calls.discard
        self.patience_s = pool.patience_s(timeout_ms)
        self._pool = pool
        self._method = method.name
        self._has_gate = pool._gate is not None
        self._form = AS_JSON if as_json else None
        self._timeout_ns = timeout_ms * 1_000_000

    def begin(self, text: str, request: Any, visit: Visit | None) -> None:
        """See Calls."""
        flow = self._flow_of(visit) if self._has_gate else new_flow()
        if not flow or not self.plain.begin(text, request.began_ns + self._timeout_ns, flow, request, self._form):
            super().begin(text, request, visit)
        elif request.client is not None and request.running is None:
            self._pool.note(request)

    def late(self) -> PredictionError:
        """See HandlerPool."""
        return self._pool.late(self.timeout_ms)

    def answer_to(self, error: BaseException) -> PredictionError:
        """See HandlerPool."""
        return self._pool.answer_to(error, self._method)

    def _flow_of(self, visit: Visit | None) -> int:
        """A flow for a call that needs no look at it; 0 where it does."""
        if visit is None or (caller := visit.caller) is None or self._method not in caller.grant.at_once:
            return 0
        if visit.kept is None:
            visit.kept = Client(owner_of(visit, None))
        return new_flow(visit.kept.behind)


class _Call:
    """A call of a handler's method. `waiter` is a Pending, or a future for whoever waits in a task."""

    __slots__ = ("_call", "_method", "_pool", "_timeout_ms", "_waiter", "deadline")

    def __init__(self, pool: HandlerPool, method: str, waiter: Any, deadline: float, timeout_ms: int) -> None:
        self.deadline = deadline
        self._pool = pool
        self._method = method
        self._waiter = waiter
        self._timeout_ms = timeout_ms
        self._call: Call | None = None

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run it up to its first wait."""
        call = drive(work, self._done)
        if not self._waiter.done():
            self._call = call
            self._pool.note(self)

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        call, self._call = self._call, None
        if call is not None:
            self._pool.forget(self)
            call.cancel()

    def give_up(self) -> None:
        """It is too late."""
        self.abandon()
        _fail(self._waiter, self._pool.late(self._timeout_ms))

    def _done(self, value: Any, error: BaseException | None) -> None:
        if self._call is not None:
            self._call = None
            self._pool.forget(self)
        if error is not None:
            _fail(self._waiter, self._pool.answer_to(error, self._method))
        elif self._waiter.__class__ is Pending:
            self._waiter.resolve(value)
        elif not self._waiter.done():
            self._waiter.set_result(value)


_Waiting = _Call | _Run | _Begun | PlainRequest


def _fail(waiter: Any, error: BaseException) -> None:
    if waiter.__class__ is Pending:
        waiter.fail(error)
    elif not waiter.done():
        waiter.set_exception(error)


def _require_unicode(value: Any) -> None:
    """Raise UnicodeEncodeError for text with half a surrogate pair, which no call over Thrift could carry either."""
    if value.__class__ is str:
        if not value.isascii():
            value.encode()
    elif value.__class__ is list:
        if value and value[0].__class__ is not int:  # of numbers, none is text
            for item in value:
                _require_unicode(item)
    elif hasattr(value, "thrift_spec"):
        for item in vars(value).values():
            if item.__class__ is str or item.__class__ is list:
                _require_unicode(item)
