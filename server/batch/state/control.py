"""How others stop a running job, and see how far it has come."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from server.batch.state.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.batch.state.job import Progress

T = TypeVar("T")

_POLL_S = 0.05


class Control:
    """Shared by the thread that runs a job and those who watch it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.cancelled = False
        """Stopped for good; else the job resumes at the next start."""
        self.progress: Progress | None = None
        """Counts the file in work too; None before the job runs."""
        self.give_way: Callable[[], None] | None = None
        """Called by the job's thread where it may pause."""

    def stop(self, *, cancel: bool = False) -> None:
        """Let the job end as soon as it can."""
        self.cancelled = self.cancelled or cancel
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the job is to end."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raises StoppedError when the job is to end. May wait, to let other jobs run."""
        if self.give_way is not None:
            self.give_way()
        if self._stop.is_set():
            raise StoppedError

    @contextlib.contextmanager
    def without_pauses(self) -> Iterator[None]:
        """The job gives way to no other one."""
        give_way, self.give_way = self.give_way, None
        try:
            yield
        finally:
            self.give_way = give_way

    def pause(self, seconds: float) -> None:
        """Wait. Raises StoppedError as soon as the job is to end."""
        self._stop.wait(seconds)
        self.check()

    def result_of(self, future: concurrent.futures.Future[T]) -> T:
        """Wait for a future's result. Raises what it raises, and StoppedError as soon as the job is to end."""
        while not concurrent.futures.wait((future,), _POLL_S).done:
            self.check()
        return future.result()
