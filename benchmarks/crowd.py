"""Polite clients beside those that take what they get.

    python -m benchmarks.crowd

One server with a sentence encoder and a text generator; 16 clients that embed a text after the other, by HTTP and by
Thrift: alone; and in a crowd of silent connections, as many as the server takes, streams begun by others to the limit
that nobody reads, and one connection that has several `embed_batch` of 500 texts in progress all the time. The cases
take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import ErrorCode, GenerationOptions, PredictionError, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer

from benchmarks.arguments import add_times, number
from benchmarks.checks import Check, no_errors
from benchmarks.documents import write_documents
from benchmarks.embeddings import default_folder, mixed_texts
from benchmarks.endpoints import HOST, AnswerError, ThriftClient, free_port
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.idle import held, is_ready
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_row
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import check_table, server_table
from process.files import raise_open_files_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

POLITE = 16
SILENT = 1000
STREAMS = 1024
GREEDY_TEXTS = 500
GREEDY_CALLS = 8
MOST_OF_ALONE = 2.0
LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.3, "silent": 100, "streams": 64}
ALONE, CROWD = "alone", "in a crowd"

_OTHER_FILES = 256
_HELPERS = 3  # connections that begin streams or look at the status
_HTTP = Endpoint("16 HTTP clients", "http-json", "/embed", port=1, field="text")
_THRIFT = Endpoint("16 Thrift clients", "thrift", method="embed")


def server_of(generator: Path, silent: int, streams: int) -> Server:
    """Ours: with all of the crowd, there are just so many connections left as the polite clients need."""
    return Server(
        "ours-crowd",
        lambda encoder, ports: [
            *(sys.executable, "-m", "server", f"encoder={encoder}", "--model", f"generator={generator}"),
            *("--port", str(ports[0]), "--rest-port", str(ports[1]), "--streams", str(streams)),
            *("--connections", str(silent + POLITE + _HELPERS + 1), "--connections-per-address", "0"),
        ],
        (_HTTP, _THRIFT),
        environment=lambda _model: {},
        ports=2,
    )


class Greedy:
    """A connection that has calls in progress all the time, each of many texts."""

    def __init__(self, port: int, calls: int = GREEDY_CALLS, texts: int = GREEDY_TEXTS) -> None:
        buffer = TMemoryBuffer()
        protocol = TBinaryProtocolAccelerated(TFramedTransport(buffer))
        client: Any = Predictor.Client(protocol)
        client.send_embed_batch(mixed_texts(texts), RequestOptions(model="encoder", timeout_ms=600_000), None)
        self._call = buffer.getvalue()
        self._socket = socket.create_connection((HOST, port), 600)
        self._thread = threading.Thread(target=self._run, args=(calls,), daemon=True)
        self._thread.start()

    def _run(self, calls: int) -> None:
        with contextlib.suppress(OSError):  # closed, at the end
            for _ in range(calls):
                self._socket.sendall(self._call)
            answers = self._socket.makefile("rb")
            while size := answers.read(4):
                answers.read(int.from_bytes(size, "big"))
                self._socket.sendall(self._call)

    @property
    def goes_on(self) -> bool:
        """Whether its connection is open."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(60)


def begin_streams(client: Any) -> int:
    """As many as this connection may begin, of one token each, which nobody reads."""
    options = RequestOptions(model="generator", timeout_ms=600_000)
    begun = 0
    while True:
        try:
            client.generate_begin("a", GenerationOptions(max_tokens=1), options)
        except PredictionError as error:
            if error.code != ErrorCode.OVERLOADED or error.setting not in ("streams", "client_share"):
                raise
            return begun
        begun += 1


@contextlib.contextmanager
def crowd(port: int, silent: int, streams: int) -> Iterator[None]:
    """All of them. Raises MeasureError."""
    with contextlib.ExitStack() as stack:
        begun = 0
        for _ in range(_HELPERS - 1):
            begun += begin_streams(stack.enter_context(ThriftClient(port)))
        if begun != streams:
            raise MeasureError(f"{begun} of {streams} streams could be begun")
        stack.enter_context(held(silent, lambda: socket.create_connection((HOST, port), 60)))
        greedy = Greedy(port)
        stack.callback(greedy.close)
        yield
        if not greedy.goes_on:
            raise MeasureError("the greedy client's connection was closed")


def measure(options: argparse.Namespace, folder: Path) -> dict[Row, list[Figures]]:
    """All rounds; in each, the cases one after the other."""
    raise_open_files_limit(options.silent + _OTHER_FILES, "--silent")
    server, ports = server_of(options.generator.resolve(), options.silent, options.streams), [free_port(), free_port()]
    plan = Plan(
        model=options.model.resolve(),
        documents={"fixed": write_documents(folder)["fixed"]},
        connections=(POLITE,),
        seconds=options.seconds,
        warmup=options.warmup,
        logs=LOGS,
    )
    build_loadgen()
    rows: dict[Row, list[Figures]] = {}
    command = server.command(plan.model, ports)
    with ServerProcess(server.name, command, server.environment(plan.model), LOGS / "ours-crowd.log") as process:
        process.wait_ready(lambda: is_ready(ports))
        for _ in range(options.rounds):
            for case in (ALONE, CROWD):
                with crowd(ports[0], options.silent, options.streams) if case == CROWD else contextlib.nullcontext():
                    for endpoint in server.endpoints:
                        row = Row(f"{endpoint.label}, {case}", "fixed", POLITE)
                        figures = measure_row(server, endpoint, row, plan, ports, process.pid)
                        rows.setdefault(row, []).append(figures)
                        print(f"{row.label}: {figures.rps:,.0f}/s, p99 {figures.p99_us / 1e3:.2f} ms", file=sys.stderr)
                everything_is_gone(ports[0])
    return rows


def everything_is_gone(port: int, patience_s: float = 60) -> None:
    """Wait until connections have ended, and streams with them. Raises MeasureError."""
    options = RequestOptions(model="generator", timeout_ms=60_000)
    with ThriftClient(port) as client:
        for _ in range(int(patience_s * 10)):
            try:
                if client.status().connections == 1:
                    client.generate_cancel(client.generate_begin("a", GenerationOptions(max_tokens=1), options))
                    return
            except PredictionError as error:
                if error.code != ErrorCode.OVERLOADED:
                    raise
            threading.Event().wait(0.1)
    raise MeasureError("the crowd is gone, and the server still has connections or streams of it")


def checks(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    """What is asked of the p99, and of errors."""
    for endpoint in (_HTTP, _THRIFT):
        alone, beside = (rows[Row(f"{endpoint.label}, {case}", "fixed", POLITE)] for case in (ALONE, CROWD))
        ratio = beside.p99_us / alone.p99_us
        asked = f"<= {MOST_OF_ALONE:g} times that alone"
        yield Check(f"p99 of {endpoint.label} in a crowd", asked, f"{ratio:.2f} times", ratio <= MOST_OF_ALONE)
    yield no_errors(rows.values())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.crowd",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=None, metavar="FOLDER", help="sentence encoder; default: all-MiniLM-L6-v2")
    add("--generator", type=Path, default=ROOT / "models" / "generator", metavar="FOLDER", help="default: %(default)s")
    add("--silent", type=number(int, 1, 4000), default=SILENT, help="silent connections; default: %(default)s")
    add("--streams", type=number(int, 2, 4000), default=STREAMS, help="the setting streams; default: %(default)s")
    add_times(parser, rounds=5, seconds=5.0, warmup=1.0)
    add("--quick", action="store_true", help="one round of a second and a small crowd: to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if not options.generator.is_dir():
        parser.error(
            f"--generator: {options.generator} is not there; `make models/generator` trains the demo generator"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        options.model = options.model or default_folder()
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    verdict = list(checks({row: middle_row(rounds) for row, rounds in rows.items()}))
    print(f"{machine_line()}\n\n{server_table(rows)}\n\n{check_table(verdict, f'{POLITE} polite clients')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
