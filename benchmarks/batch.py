"""Batch jobs: rows a second against the model alone and against embedded-tf's way, and what a job does to others.

python -m benchmarks.batch
python -m benchmarks.batch --memory      a file of 2 GB: the server's memory while it is predicted
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from predictor.ttypes import BatchRequest, BatchState

from benchmarks.arguments import MODEL, number
from benchmarks.checks import Check
from benchmarks.documents import FIXED_SENTENCE, write_documents
from benchmarks.endpoints import ThriftClient, free_port, scores
from benchmarks.load import Load, LoadError, LoadResult, build_loadgen, run_load
from benchmarks.measure import MeasureError
from benchmarks.process import MIB, ROOT, ServerProcess, StartError, read_stat
from benchmarks.report import machine_line
from benchmarks.table import check_table, markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 0.5, "lines": 20_000, "files": 4}
CONNECTIONS = 16
LEAST_OF_LIMIT, MOST_P99, LEAST_SHARE, MOST_GROWTH = 0.85, 2.0, 0.15, 1.1
MEMORY_LINE_BYTES = 1000
ACTIVE = (BatchState.QUEUED, BatchState.RUNNING)


@dataclass(frozen=True)
class Online:
    """One round of interactive requests without and with a job beside them."""

    alone: LoadResult
    beside: LoadResult
    share: float
    """The job's lines a second beside them, as a share of its own alone."""


class JobServer(ServerProcess):
    """The server as `make run` starts it, with jobs below a folder."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.port = free_port()
        flags = ["--no-rest", f"--port={self.port}", f"--jobs-db={folder / 'jobs.db'}", f"--batch-roots={folder}"]
        super().__init__("jobs", [sys.executable, "-m", "server", str(model), *flags], {}, LOGS / "jobs.log")
        self.wait_ready(lambda: scores("thrift", self.port, "/", FIXED_SENTENCE) is not None)

    def submit(self, input_location: str, output: Path, model: str | None = None) -> str:
        """The id of a new job."""
        with ThriftClient(self.port) as client:
            return str(client.submit_batch(BatchRequest("predict", model, input_location, str(output))).id)

    def job(self, job_id: str) -> Any:
        """The job as it stands."""
        with ThriftClient(self.port) as client:
            return client.get_batch(job_id)

    def cancel(self, job_id: str) -> None:
        """End the job."""
        with ThriftClient(self.port) as client:
            client.cancel_batch(job_id)

    def run(self, input_location: str, output: Path, model: str | None = None) -> float:
        """Seconds that a job takes."""
        job_id = self.submit(input_location, output, model)
        while (job := self.job(job_id)).state in ACTIVE:
            time.sleep(0.02)
        if job.state != BatchState.COMPLETED:
            raise MeasureError(f"the job ended otherwise: {job.error}")
        return float(job.finished_at - job.created_at)

    def rate(self, job_id: str, work: Callable[[], object]) -> float:
        """The job's lines a second while `work` goes on."""
        began, before = time.monotonic(), self.job(job_id).rows_done
        work()
        job, elapsed = self.job(job_id), time.monotonic() - began
        if job.state != BatchState.RUNNING:
            raise MeasureError(f"the job ended before its time: {job.error or 'give more --lines'}")
        return float(job.rows_done - before) / elapsed


def write_input(folder: Path, documents: Sequence[str], lines: int, files: int) -> None:
    """`lines` documents, over and over, in so many files."""
    folder.mkdir(parents=True)
    for file in range(files):
        with (folder / f"{file:03}.jsonl").open("w") as output:
            for line in range(lines // files):
                output.write(json.dumps(documents[line % len(documents)]) + "\n")


def limit_of(model: Path, documents: Path, seconds: float, threads: int) -> float:
    """Documents a second of the model alone with so many threads, at its best batch size."""
    command = [sys.executable, "-m", "benchmarks.inprocess", str(model), "--documents", str(documents)]
    done = subprocess.run([*command, f"--seconds={seconds}"], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(max(row["documents_per_s"] for row in json.loads(done.stdout)["figures"] if row["threads"] == threads))


def command_line(model: Path, folder: Path, source: str) -> float:
    """Seconds that python -m server.batch takes, its start included."""
    began = time.monotonic()
    places = [f"--model={model}", f"--input={source}", f"--output={folder / 'cli'}", f"--state={folder / 'state'}"]
    subprocess.run([sys.executable, "-m", "server.batch", *places], cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - began


def throughput(options: argparse.Namespace, folder: Path) -> tuple[str, list[Check]]:
    """Jobs against the model alone, in turns."""
    rows, checks = [], []
    for name, path in write_documents(folder).items():
        documents = path.read_text().splitlines()
        write_input(folder / name, documents, options.lines, options.files)
        source = f"{folder / name}/"
        figures: dict[str, list[float]] = {}
        for turn in range(options.rounds):
            limit = limit_of(options.model, path, options.seconds, threads=max(1, len(os.sched_getaffinity(0)) - 1))
            everywhere = limit_of(options.model, path, options.seconds, threads=2)
            with JobServer(options.model, folder) as server:
                server.run(source, folder / "out")  # the model's first batches compile
                job = options.lines / server.run(source, folder / "out")
            alone = options.lines / command_line(options.model, folder, source)
            for label, figure in (("limit", limit), ("job", job), ("limit 2", everywhere), ("command line", alone)):
                figures.setdefault(label, []).append(figure)
            note(f"round {turn + 1}, {name}: job {job:,.0f} lines/s, the model alone {limit:,.0f}")
        ratio = median(job / limit for job, limit in zip(figures["job"], figures["limit"], strict=True))
        rows.append([name, *(f"{median(figures[label]):,.0f}" for label in figures), f"{ratio:.2f}"])
        checks.append(
            Check(
                f"predict, {name}: a job's lines/s",
                f">= {LEAST_OF_LIMIT:g} of the model alone",
                f"{ratio:.2f}",
                ratio >= LEAST_OF_LIMIT,
            )
        )
    head = ("documents", "model alone, as many threads", "job", "model alone, 2 threads", "command line", "job/model")
    return markdown(head, rows), checks


def beside(server: JobServer, source: str, folder: Path, documents: Path, seconds: float) -> Online:
    """Interactive requests alone, then beside a job; the job alone, then beside them."""
    load = Load(server.port, "thrift", documents, CONNECTIONS, seconds, warmup=min(1.0, seconds))
    alone = run_load(load, lambda: None, lambda: None)
    job_id = server.submit(source, folder / "long")
    time.sleep(0.3)
    results: list[LoadResult] = []
    own = server.rate(job_id, lambda: time.sleep(min(1.0, seconds)))
    shared = server.rate(job_id, lambda: results.append(run_load(load, lambda: None, lambda: None)))
    server.cancel(job_id)
    return Online(alone, results[0], shared / own)


def online(options: argparse.Namespace, folder: Path) -> tuple[str, list[Check]]:
    """What a job does to interactive requests, and they to it."""
    documents = write_documents(folder)["fixed"]
    seconds = 4 * options.seconds + 4  # for which the job must last
    write_input(folder / "endless", [FIXED_SENTENCE], int(seconds * 250_000), 1)
    with JobServer(options.model, folder) as server:
        rounds = [
            beside(server, f"{folder / 'endless'}/", folder, documents, options.seconds) for _ in range(options.rounds)
        ]
    rows = []
    for name in ("alone", "beside"):
        results: list[LoadResult] = [getattr(each, name) for each in rounds]
        figures = [median(getattr(result, field) for result in results) for field in ("rps", "p50_us", "p99_us")]
        rows.append(
            ["without a job" if name == "alone" else "beside a job", f"{figures[0]:,.0f}"]
            + [f"{figure / 1000:.2f}" for figure in figures[1:]]
        )
    p99 = median(each.beside.p99_us / each.alone.p99_us for each in rounds)
    share = median(each.share for each in rounds)
    errors = sum(each.beside.errors + each.beside.lost + each.beside.overloaded for each in rounds)
    checks = [
        Check(
            f"p99 at {CONNECTIONS} connections beside a job", f"<= {MOST_P99:g} times", f"{p99:.2f}", p99 <= MOST_P99
        ),
        Check("the job's speed beside them", f">= {LEAST_SHARE:g} of its own", f"{share:.2f}", share >= LEAST_SHARE),
        Check("their errors", "0", str(errors), errors == 0),
    ]
    return markdown(("interactive requests", "req/s", "p50 ms", "p99 ms"), rows), checks


def saved_model(options: argparse.Namespace, folder: Path) -> tuple[str, list[Check]]:
    """half_plus_two as a job, and by one HTTP request a file, as embedded-tf asked TensorFlow's server."""
    subprocess.run(
        [sys.executable, "scripts/make_saved_models.py", str(folder / "saved"), "half_plus_two"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    source = folder / "numbers"
    source.mkdir()
    for file in range(options.files):
        values = (f"{n / 2}\n" for n in range(options.lines // options.files))
        (source / f"{file:03}.jsonl").write_text("".join(values))
    model = folder / "saved" / "half_plus_two"
    jobs, requests = [], []
    for _ in range(options.rounds):
        with JobServer(options.model, folder) as server:
            jobs.append(options.lines / server.run(f"{source}/", folder / "halves", str(model)))
        requests.append(options.lines / http_way(model, source, folder / "http"))
        note(f"half_plus_two: job {jobs[-1]:,.0f} lines/s, a request a file {requests[-1]:,.0f}, starts included")
    rows = [["a job", f"{median(jobs):,.0f}"], ["an HTTP request a file", f"{median(requests):,.0f}"]]
    return markdown(("half_plus_two, TensorFlow's start included", "lines/s"), rows), []


def http_way(model: Path, source: Path, output: Path) -> float:
    """Seconds of embedded-tf's flow: start a REST front of TensorFlow, post each file, write, stop."""
    output.mkdir(exist_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.rest_front", str(model), str(source), str(output)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - began


def memory(options: argparse.Namespace, folder: Path) -> tuple[str, list[Check]]:
    """The server's RSS over one long file."""
    line = json.dumps({"doc": FIXED_SENTENCE, "more": "x" * (MEMORY_LINE_BYTES - 60)}) + "\n"
    count = options.bytes // len(line)
    with (folder / "long.jsonl").open("w") as file:
        for _ in range(count // 1000 + 1):
            file.write(line * 1000)
    samples: list[tuple[float, float]] = []
    with JobServer(options.model, folder) as server:
        job_id = server.submit(str(folder / "long.jsonl"), folder / "out")
        while (job := server.job(job_id)).state in ACTIVE:
            stat = read_stat(server.pid)
            samples.append((job.progress, stat.rss_bytes / MIB if stat else 0.0))
            time.sleep(0.01)
    if job.state != BatchState.COMPLETED:
        raise MeasureError(f"the job failed: {job.error}")
    tenths = [[rss for share, rss in samples if tenth / 10 <= share < (tenth + 1) / 10] for tenth in range(10)]
    peaks = [max(tenth, default=0.0) for tenth in tenths]
    growth = max(peaks[5:]) / max(max(peaks[:5]), 1.0)
    seconds = job.finished_at - job.created_at
    rows = [[f"{options.bytes / 1e9:g} GB, {seconds:.0f} s", *(f"{peak:.0f}" for peak in peaks)]]
    check = Check(
        "RSS in the second half of the file",
        f"<= {MOST_GROWTH:g} of that before",
        f"{growth:.2f}",
        growth <= MOST_GROWTH,
    )
    head = ("RSS in MiB, highest in each tenth", *(f"{tenth + 1}" for tenth in range(10)))
    return markdown(head, rows), [check]


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.batch",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FILE", help="default: models/classifier.pt")
    add("--lines", type=number(int, 1000, 10**9), default=200_000, help="of each kind of input; default: %(default)s")
    add("--files", type=number(int, 1, 1000), default=20, help="that they are in; default: %(default)s")
    add("--rounds", type=number(int, 1, 100), default=3, help="the tables show their medians; default: %(default)s")
    add("--seconds", type=number(float, 0.1, 600), default=3.0, help="time for each load; default: %(default)s")
    add("--memory", action="store_true", help="only the server's memory, over one long file")
    add("--bytes", type=number(int, 10**6, 10**12), default=2 * 10**9, help="of that file; default: %(default)s")
    add("--quick", action="store_true", help="one round over 20,000 lines: to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
        options.bytes = min(options.bytes, 50_000_000)
    if not options.model.is_file():
        parser.error(f"--model: {options.model} is not there; `make models/classifier.pt` trains the demo classifier")
    return options


def parts(options: argparse.Namespace) -> Iterator[tuple[str, list[Check]]]:
    """Each table with its checks."""
    for part in (memory,) if options.memory else (throughput, online, saved_model):
        with tempfile.TemporaryDirectory() as folder:
            yield part(options, Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        build_loadgen()
        tables = list(parts(options))
    except (LoadError, MeasureError, StartError, OSError, subprocess.CalledProcessError) as error:
        note(f"benchmark: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"Batch jobs, {options.lines:,} lines in {options.files} files; {machine_line()}\n")
    for table, _ in tables:
        print(f"{table}\n")
    verdict = [check for _, checks in tables for check in checks]
    print(check_table(verdict, "of batch jobs"))
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
