"""A job's progress on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import threading

    from predictor.ttypes import BatchJob

    from server.batch.state.control import Control
    from server.batch.state.job_store import JobStore

_REFRESH_S = 0.2


def show_progress(store: JobStore, job_id: str, control: Control, thread: threading.Thread) -> None:
    """Show how far the job has come until the thread that runs it ends; nothing where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} lines, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty(), transient=True) as bar:
        bar.add_task("starting", total=1, rows=0, rate=0)
        while thread.is_alive():
            thread.join(_REFRESH_S)
            if control.progress is not None and not bar.disable:
                _update(bar, store.job(job_id).to_contract(control.progress))


def _update(bar: Progress, job: BatchJob) -> None:
    (task,) = bar.tasks
    rows = job.rows_done + job.rows_failed
    bar.update(
        task.id,
        description=f"file {min(job.files_done + 1, job.files_total)} of {job.files_total}",
        completed=job.progress,
        rows=rows,
        rate=rows / task.elapsed if task.elapsed else 0,
    )
