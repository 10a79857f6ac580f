"""What a job does with its lines, as the runner sees it."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.batch.state.control import Control
    from server.batch.state.job import RowError

    Result = bytes | RowError

T = TypeVar("T")

_POLL_S = 0.05


class Answers(Protocol):
    """Results on their way."""

    def wait(self, control: Control) -> Sequence[Result]:
        """The results in the order of the instances. Raises JobError, StoppedError."""

    def abandon(self) -> None:
        """Nobody waits for them any more."""


class Method(Protocol):
    """What a job does with its lines."""

    rows: int
    """Lines that are best given at a time."""
    rows_ahead: int
    """Lines that should be on their way at a time, so that the model never waits."""
    bare: bool
    """A result is a JSON value; else it is what stands in an object's braces."""
    exact: bool
    """Integers of any size keep all their digits."""

    def instance(self, value: Any) -> Any:
        """What is to be predicted, of a line's JSON value. Raises RowError."""

    def start(self, instances: list[Any]) -> Answers:
        """Begin to predict. Raises JobError."""


def outcome(future: concurrent.futures.Future[T], control: Control) -> T:
    """The future's result. Raises what it raises, and StoppedError as soon as the job is to end."""
    while not concurrent.futures.wait((future,), _POLL_S).done:
        control.check()
    return future.result()
