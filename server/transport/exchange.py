"""A call of a connection, from its envelope to the bytes of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thrift.Thrift import TApplicationException

from process.tracebacks import forget_frames
from server.calls import Call
from server.errors import PredictionError, presentable
from server.transport.codecs import ONEWAY
from server.transport.methods import exception, undeclared

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from server.transport.codecs import Codec, Envelope
    from server.transport.frames import Wrap
    from server.transport.methods import Answer, Method


class Exchange(Call):
    """One call in progress. `answer` counts once `answered` is true; a oneway call's is empty."""

    __slots__ = ("_codec", "_envelope", "_log", "_method", "_on_answer", "_wrap", "answer", "answered", "size")

    def __init__(
        self,
        method: Method | None,
        codec: Codec,
        envelope: Envelope,
        wrap: Wrap,
        on_answer: Callable[[Exchange], object],
        log: Any,
    ) -> None:
        """`method` is None when the contract has none of that name; `on_answer` is called when there is an answer."""
        self.answer = b""
        self.answered = False
        self._coroutine = None
        self.size = 0
        """Bytes of the message, where they are counted."""
        self._method = method
        self._codec = codec
        self._envelope = envelope
        self._wrap = wrap
        self._on_answer = on_answer
        self._log = log

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run what gives the answer, at once up to its first wait."""
        self._coroutine = work
        self.step()

    def refuse(self, error: BaseException) -> None:
        """Answer with an error."""
        self._on_done(None, error)

    def answer_with(self, value: Any) -> None:
        """Answer with what the method returned."""
        self._on_done(value, None)

    @property
    def runs(self) -> bool:
        """Whether there is work that has begun and not ended."""
        return self._coroutine is not None

    def _on_done(self, value: Any, error: BaseException | None) -> None:
        """Answer with `value`, or, when there is one, with `error`."""
        _, kind, seqid, _ = self._envelope
        try:
            message = self._failure(error) if error else self._method.reply(self._codec, seqid, value)  # type: ignore[union-attr]  # it was called
        except Exception as fault:
            message = self._failure(fault)
        if kind != ONEWAY:
            self.answer = message if self._wrap is None else self._wrap(message)
        if error is not None:
            forget_frames(error)
        self.answered = True
        self._on_answer(self)

    def abandon(self) -> None:
        """Stop the call; nobody waits for its answer any more."""
        try:
            self.cancel()
        except Exception as error:
            self._log.error("call failed while it was cancelled", method=self._name(), exc_info=error)

    def _name(self) -> str:
        return self._envelope[0].decode(errors="replace")

    def _failure(self, error: BaseException) -> bytes:
        """The message for a call that failed."""
        name, _, seqid, _ = self._envelope
        answer = self._presentable(error)
        if self._method is not None:
            return self._method.error(self._codec, seqid, answer)
        if isinstance(answer, PredictionError):
            answer = undeclared(answer)
        return exception(self._codec, name, seqid, answer)

    def _presentable(self, error: BaseException) -> Answer:
        """What the caller gets to see of an error: of a fault of ours only the id that the log knows it by."""
        return error if isinstance(error, TApplicationException) else presentable(error, self._name(), self._log)
