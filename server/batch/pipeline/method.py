"""What a job does with its instances, as the pipeline sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.batch.state.control import Control
    from server.batch.state.errors import RowError

    Result = bytes | RowError


class PendingResults(Protocol):
    """Results of instances in progress."""

    def wait(self, control: Control) -> Sequence[Result]:
        """The results in the order of the instances. Raises JobError, StoppedError."""

    def cancel(self) -> None:
        """Nobody waits for them any more."""


class Method(Protocol):
    """What a job does with its instances."""

    rows: int
    """Lines that a chunk should have."""
    rows_ahead: int
    """Lines that should be in progress at a time, so that the model never waits."""
    result_bytes: int
    """What a result has at least, as far as that is known before there is one."""
    bare: bool
    """A result is a JSON value; else it is what stands in an object's braces."""
    exact: bool
    """Integers of any size keep all their digits."""

    def instance(self, value: Any) -> Any:
        """What is to be predicted, of a line's JSON value. Raises RowError."""

    def submit(self, instances: list[Any]) -> PendingResults:
        """Begin to predict. Raises JobError."""
