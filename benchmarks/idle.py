"""HTTP clients beside connections that say nothing.

    python -m benchmarks.idle

One server, 16 busy HTTP clients: alone; beside idle HTTP connections; and beside as many idle Thrift connections as the
server takes, so that no Thrift client more gets in. The cases take turns. Each idle connection has made a request.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from benchmarks.arguments import MODEL, add_times, number, parsed
from benchmarks.checks import Check, no_errors
from benchmarks.documents import FIXED_SENTENCE, write_documents
from benchmarks.embeddings import is_listening
from benchmarks.endpoints import HOST, AnswerError, ThriftClient, free_port
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_row
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import Endpoint, Server
from benchmarks.table import check_table, server_table
from process.files import raise_open_files_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BUSY = 16
IDLE = 2000
MOST_OF_ALONE = 1.2
LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 0.5, "warmup": 0.2, "idle": 200}
ALONE, BESIDE_HTTP, BESIDE_THRIFT = "alone", "idle HTTP", "idle Thrift"

_OTHER_FILES = 256
_BUSY = Endpoint("16 HTTP clients", "http-json", "/predict", port=1)


def server_of(idle: int) -> Server:
    """Ours, whose Thrift port takes `idle` connections and not one more."""
    return Server(
        "ours-idle",
        lambda model, ports: [
            *(sys.executable, "-m", "server", str(model), "--port", str(ports[0]), "--rest-port", str(ports[1])),
            *("--connections", str(idle)),
            *("--connections-per-address", "0", "--rest-max-connections-per-address", "0"),  # all come from one
        ],
        (_BUSY,),
        environment=lambda _model: {},
        ports=2,
    )


def http_connection(port: int) -> socket.socket:
    """One that has been answered, and stays open."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    assert isinstance(connection.sock, socket.socket)
    return connection.sock


def thrift_connection(port: int) -> socket.socket:
    """The same by Thrift."""
    transport = TSocket(HOST, port)
    transport.setTimeout(60_000)
    transport.open()
    Predictor.Client(TBinaryProtocolAccelerated(TBufferedTransport(transport))).predict(FIXED_SENTENCE, None)
    assert isinstance(transport.handle, socket.socket)
    return transport.handle


@contextlib.contextmanager
def held(count: int, connect: Callable[[], socket.socket]) -> Iterator[None]:
    """So many connections, which are all still open at the end. Raises MeasureError."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connections.append(connect())
        yield
        closed = sum(map(_is_closed, connections))
        if closed:
            raise MeasureError(f"{closed} of {count} idle connections were closed")
    finally:
        for connection in connections:
            connection.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def is_ready(ports: Sequence[int]) -> bool:
    """Whether the model is loaded."""
    if not all(map(is_listening, ports)):
        return False
    with ThriftClient(ports[0]) as client:
        return bool(client.status().ready)


def no_connection_is_left(port: int, patience_s: float = 30) -> None:
    """Wait until the server has seen that idle Thrift clients are gone. Raises MeasureError."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception), ThriftClient(port) as client:
            if client.status().connections == 1:
                return
        time.sleep(0.05)
    raise MeasureError("the server still has connections whose clients are gone")


def measure(options: argparse.Namespace, folder: Path) -> dict[Row, list[Figures]]:
    """All rounds; in each, the cases one after the other."""
    raise_open_files_limit(options.idle + _OTHER_FILES, "--idle")
    server, ports = server_of(options.idle), [free_port(), free_port()]
    plan = Plan(
        model=options.model.resolve(),
        documents={"fixed": write_documents(folder)["fixed"]},
        connections=(BUSY,),
        seconds=options.seconds,
        warmup=options.warmup,
        logs=LOGS,
    )
    cases: dict[str, tuple[int, Callable[[], socket.socket]]] = {
        ALONE: (0, lambda: http_connection(ports[1])),
        BESIDE_HTTP: (options.idle, lambda: http_connection(ports[1])),
        BESIDE_THRIFT: (options.idle, lambda: thrift_connection(ports[0])),
    }
    build_loadgen()
    rows: dict[Row, list[Figures]] = {}
    command = server.command(plan.model, ports)
    with ServerProcess(server.name, command, server.environment(plan.model), LOGS / "ours-idle.log") as process:
        process.wait_ready(lambda: is_ready(ports))
        for _ in range(options.rounds):
            for case, (count, connect) in cases.items():
                row = Row(case, "fixed", BUSY)
                with held(count, connect):
                    figures = measure_row(server, _BUSY, row, plan, ports, process.pid)
                no_connection_is_left(ports[0])
                rows.setdefault(row, []).append(figures)
                print(f"{case}: {figures.rps:,.0f}/s, p99 {figures.p99_us / 1e3:.2f} ms", file=sys.stderr)
    return rows


def checks(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    """What is asked of the p99, and of errors."""
    alone = rows[Row(ALONE, "fixed", BUSY)]
    for row, figures in rows.items():
        if row.label != ALONE:
            ratio = figures.p99_us / alone.p99_us
            asked = f"<= {MOST_OF_ALONE} times that alone"
            yield Check(f"p99 beside {row.label}", asked, f"{ratio:.2f} times", ratio <= MOST_OF_ALONE)
    yield no_errors(rows.values())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.idle",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FILE", help="default: models/classifier.pt")
    add("--idle", type=number(int, 1, 4000), default=IDLE, help="idle connections of each kind; default: %(default)s")
    add_times(parser, rounds=5, seconds=3.0, warmup=1.0)
    add("--quick", action="store_true", help="one round of half a second, 200 connections: to see that it works")
    return parsed(parser, arguments, QUICK)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    verdict = list(checks({row: middle_row(rounds) for row, rounds in rows.items()}))
    print(f"{machine_line()}\n\n{server_table(rows)}\n\n{check_table(verdict, f'{BUSY} busy HTTP clients')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
