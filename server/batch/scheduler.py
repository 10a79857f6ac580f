"""Which job runs next: threads that run the jobs of a store, the oldest first."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from server.batch.state.control import Control
from server.batch.storage.overlap import results_overlap, results_place

if TYPE_CHECKING:
    from server.batch.runner import Runner
    from server.batch.state.job import Job, JobRequest
    from server.batch.state.job_store import JobStore
    from server.batch.state.turns import Turns

log = structlog.get_logger()

_RETRY_S = 1.0
_BEGUN = 8  # each keeps its model and up to 64 MiB of results, also while it pauses


@dataclass(frozen=True, slots=True)
class _Running:
    control: Control
    place: str
    """Where its results go."""


class Scheduler:
    """A job belongs to one thread at a time; jobs whose results may go to the same files run one after the other.

    Of the jobs that have begun so many run at a time, in turns: a short job waits for no long one to end.

    Any thread may call anything; only `control` never waits for the disk.
    """

    def __init__(self, store: JobStore, runner: Runner, kept: int, turns: Turns) -> None:
        """The store keeps so many jobs that have ended."""
        self._turns = turns
        self._store = store
        self._runner = runner
        self._kept = kept
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}
        self._stopping = False

    def start(self, count: int) -> None:
        """Run the jobs that wait; so many places there are."""
        for number in range(max(count, _BEGUN)):
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True).start()

    def wake(self) -> None:
        """Look at the store again: there is a new job."""
        with self._changed:
            self._changed.notify()

    def control(self, job_id: str) -> Control | None:
        """Of a job that runs."""
        running = self._running.get(job_id)
        return None if running is None else running.control

    def cancel(self, job: Job) -> None:
        """End a job: one that runs is told to end, any other has ended when this returns."""
        control = Control()
        control.stop(cancel=True)
        with self._changed:
            if job.id in self._running:
                self._running[job.id].control.stop(cancel=True)
                return
            self._running[job.id] = _Running(control, _place(job.request))
        try:
            self._run(job.id, control)
        finally:
            self._forget(job.id)

    def stop(self) -> None:
        """End running jobs where they are, however long that takes, and start none."""
        with self._changed:
            self._stopping = True
            for running in self._running.values():
                running.control.stop()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running)

    def _work(self) -> None:
        while not self._stopping:
            try:
                if (taken := self._take()) is not None:
                    self._run_in_turns(*taken)
            except Exception:
                log.exception("a job's state could not be stored")
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, _RETRY_S)

    def _take(self) -> tuple[str, Control] | None:
        """The next job, when there is one; None when there will be no more."""
        with self._changed:
            while not self._stopping:
                if (found := self._next()) is not None:
                    job_id, place = found
                    control = Control()
                    self._running[job_id] = _Running(control, place)
                    return job_id, control
                self._changed.wait()
        return None

    def _next(self) -> tuple[str, str] | None:
        """Id and place of the oldest waiting job whose results overlap neither a running job's nor an older one's."""
        before = {running.place for running in self._running.values()}
        for job_id, request in self._store.queued():
            if job_id not in self._running:
                place = _place(request)
                overlapping = [other for other in before if results_overlap(place, other)]
                if not overlapping:
                    return job_id, place
                # a place below another need not be remembered: what overlaps it overlaps the other
                if not any(place.startswith(other) for other in overlapping):
                    before.add(place)
        return None

    def _run_in_turns(self, job_id: str, control: Control) -> None:
        turn = self._turns.of(control)
        try:
            if turn.begin() or control.cancelled:
                self._run(job_id, control)
        finally:
            turn.end()
            self._forget(job_id)

    def _run(self, job_id: str, control: Control) -> None:
        self._runner.run(job_id, control)
        self._store.prune(self._kept)

    def _forget(self, job_id: str) -> None:
        with self._changed:
            del self._running[job_id]
            self._changed.notify_all()


def _place(request: JobRequest) -> str:
    return results_place(request.input, request.output)
