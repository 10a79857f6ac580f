"""Calls in progress, without a task for each.

An asyncio.Task and an asyncio.Future cost a request two passes through the event loop. A prediction needs neither: its
coroutine runs up to the point where it waits for the engine, and goes on when the engine's result is there. `drive`
runs a coroutine that way, and `Pending` is what it waits on. A handler may await ordinary futures too.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

WAITING = object()
"""Instead of a value that is not there yet."""


class Pending(Generic[T]):
    """A result that comes later, to be awaited once, on the event loop's thread.

    `on_abandon` is called when the one who awaited it stops waiting (its call was cancelled): the place to take the
    work out of a queue. `tokens` is how many tokens the model reads for it, where the model tells, at the latest when
    there is a result.
    """

    __slots__ = ("_error", "_on_done", "_value", "on_abandon", "tokens")

    def __init__(self, on_abandon: Callable[[], object] | None = None) -> None:
        self._value: Any = WAITING
        self._error: BaseException | None = None
        self._on_done: Callable[[Any], object] | None = None
        self.on_abandon = on_abandon
        self.tokens: int | None = None

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._value is not WAITING or self._error is not None

    def resolve(self, value: T) -> None:
        """Give the result; whoever awaits goes on before this returns."""
        self._value = value
        if self._on_done is not None:
            self._on_done(self)

    def fail(self, error: BaseException) -> None:
        """Give an error instead of a result."""
        self._error = error
        if self._on_done is not None:
            self._on_done(self)

    def abandon(self) -> None:
        """Nobody waits for this any more."""
        if self.on_abandon is not None and not self.done():
            self.on_abandon()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(self)` when done; at most one, as only one can await."""
        self._on_done = callback

    def __await__(self) -> Generator[Any, None, T]:
        if self._value is WAITING and self._error is None:
            try:
                yield self
            except BaseException:
                self.abandon()
                raise
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]


class PlainCall(ABC):
    """A call of one text without options, of which an engine tells the outcome without a coroutine.

    `model` is the one that answers; `engine` has taken the text when it is set, and knows it by `id`. Who is one has
    slots for the three.
    """

    __slots__ = ()

    # Of the requests of an engine, for which one of these stands.
    convert = None
    times = None
    request_id: str | None = None
    """The caller's own id for the log, if it gave one."""

    engine: Any
    id: Any
    model: Any

    def leave_engine(self) -> None:
        """Nobody waits for the outcome any more."""
        self.engine.cancel(self.id)

    @abstractmethod
    def resolve(self, value: Any) -> None:
        """Here is the result: bytes in the form that was asked for, or, where that does not fit, the scores."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Here is an error instead."""


class PlainMethod(Protocol):
    """What begins such calls of a method (server/rpc/plain.py).

    `answer` is in what bytes the scores are wanted, see server.models.requests.Answer; None: as they are.
    """

    def takes_timeout(self, timeout_ms: int) -> bool:
        """Whether a caller may wait so long."""

    def begin(self, text: str, deadline_ns: int | None, flow: int, call: PlainCall, answer: Any) -> bool:
        """Begin it; `call` is told the outcome, perhaps before this returns. `deadline_ns`: where the caller names one.

        False: it cannot be had like this, and nothing has happened.
        """

    def checked(self, call: PlainCall, value: Any) -> Any:
        """A result that did not come in bytes. Raises PredictionError."""

    def explained(self, error: Any, *, timeout_named: bool) -> Any:
        """An error as the caller gets to see it, who has named a deadline or not."""


class Call:
    """A coroutine being driven. `on_done(value, error)` is called once, with None for the one that it is not.

    It is not called when the call is cancelled: who cancels knows.
    """

    __slots__ = ("_coroutine", "_on_done")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], on_done: Callable[[Any, BaseException | None], object]
    ) -> None:
        self._coroutine: Coroutine[Any, Any, Any] | None = coroutine
        self._on_done = on_done

    def step(self, awaited_before: object = None) -> None:
        """Run the coroutine until it waits for something or ends."""
        coroutine = self._coroutine
        if coroutine is None:  # cancelled while its result was on the way
            if isinstance(awaited_before, asyncio.Future) and not awaited_before.cancelled():
                awaited_before.exception()  # or asyncio would log that nobody has looked at it
            return
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            self._coroutine = None
            self._on_done(end.value, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in a library written in Rust is no Exception
            self._coroutine = None
            self._on_done(None, error)
        else:
            if isinstance(awaited, Pending):
                awaited._on_done = self.step
            elif awaited is None:  # asyncio.sleep(0): one pass through the loop
                asyncio.get_running_loop().call_soon(self.step)
            else:
                awaited._asyncio_future_blocking = False
                awaited.add_done_callback(self.step)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in the coroutine where it waits; what it waits for is abandoned."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        try:
            coroutine.throw(error)
        except StopIteration as end:
            self._end(end.value, None)
        except BaseException as raised:
            self._end(None, raised)
        else:  # it waits for something else now, which nobody would tell it of
            coroutine.close()
            self._end(None, error)

    def _end(self, value: Any, error: BaseException | None) -> None:
        self._coroutine = None
        self._on_done(value, error)

    def cancel(self) -> None:
        """Stop the coroutine where it waits; its Pending is abandoned."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            coroutine.close()


def drive(coroutine: Coroutine[Any, Any, Any], on_done: Callable[[Any, BaseException | None], object]) -> Call:
    """Run `coroutine` at once, up to its first wait, and on from there as what it awaits gets done."""
    call = Call(coroutine, on_done)
    call.step()
    return call
