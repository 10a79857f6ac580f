"""What sockets and the event loop cost a request: our server beside one that does nothing.

    python -m benchmarks.floor

`floor_server.py` answers with the bytes that ours gave to the fixed sentence, on the same loop. Both run all the time
and take turns, row by row, so that a machine that becomes slower is slower for both. No server in Python can do without
the floor: what is asked of the processor time beyond the model's can only be had where the floor is below it.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TTransport import TMemoryBuffer

from benchmarks.arguments import MODEL, add_load_options, parsed
from benchmarks.checks import TARGETS, Check, no_errors
from benchmarks.documents import FIXED_SENTENCE, write_documents
from benchmarks.embeddings import LOGS, is_listening
from benchmarks.endpoints import HOST, TIMEOUT_S, AnswerError, free_port
from benchmarks.figures import Figures, Row, middle_row
from benchmarks.idle import is_ready
from benchmarks.load import LoadError, build_loadgen
from benchmarks.measure import MeasureError, Plan, measure_model, measure_row
from benchmarks.process import ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.servers import OURS, Endpoint, Server
from benchmarks.table import check_table, markdown, server_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DOCUMENTS = "fixed"
CHECKED_AT = 64
MODEL_BATCH = 32
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.3}


@dataclass(frozen=True)
class Side:
    """A protocol of ours, and the same of the floor."""

    name: str
    endpoint: Endpoint
    request: bytes
    """As the load generator sends it."""

    @property
    def floor(self) -> Endpoint:
        """What does nothing."""
        own = self.endpoint
        return Endpoint(f"floor, {self.name}", own.protocol, own.path, own.port)


def _thrift_request() -> bytes:
    buffer = TMemoryBuffer()
    client = Predictor.Client(TBinaryProtocolAccelerated(buffer))
    client._seqid = 1  # the load generator's for its only document
    client.send_predict(FIXED_SENTENCE, None)
    return bytes(buffer.getvalue())


def _http_request(path: str) -> bytes:
    body = f'{{"doc": "{FIXED_SENTENCE}"}}'
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


SIDES = (
    Side("Thrift", OURS.endpoints[0], _thrift_request()),
    Side("HTTP", OURS.endpoints[1], _http_request(OURS.endpoints[1].path)),
)


def answer_of(port: int, request: bytes) -> bytes:
    """What the server answers, which comes in one piece. Raises MeasureError, OSError."""
    with socket.create_connection((HOST, port), TIMEOUT_S) as connection:
        connection.sendall(request)
        answer = connection.recv(1 << 16)
    if not answer:
        raise MeasureError("the server closed the connection instead of answering")
    return answer


@contextlib.contextmanager
def floor_running(folder: Path, answers: Sequence[bytes]) -> Iterator[tuple[list[int], int]]:
    """The floor's ports, one for each of the answers, and its process id. Raises StartError."""
    ports = [free_port() for _ in answers]
    arguments = []
    for port, answer in zip(ports, answers, strict=True):
        file = folder / f"answer-{port}"
        file.write_bytes(answer)
        arguments.append(f"{port}={file}")
    command = [sys.executable, "-m", "benchmarks.floor_server", *arguments]
    with ServerProcess("floor", command, {}, LOGS / "floor.log") as process:
        process.wait_ready(lambda: all(map(is_listening, ports)))
        yield ports, process.pid


def measure(options: argparse.Namespace, folder: Path) -> dict[Row, list[Figures]]:
    """All rounds; in each, row after row, ours and then the floor."""
    fixed = {DOCUMENTS: write_documents(folder)[DOCUMENTS]}
    plan = Plan(options.model.resolve(), fixed, options.connections, options.seconds, options.warmup, LOGS)
    build_loadgen()
    ports = [free_port() for _ in range(OURS.ports)]
    rows: dict[Row, list[Figures]] = {}
    log = LOGS / "ours-floor.log"
    with ServerProcess(OURS.name, OURS.command(plan.model, ports), {}, log) as ours:
        ours.wait_ready(lambda: is_ready(ports))
        answers = [answer_of(ports[side.endpoint.port], side.request) for side in SIDES]
        with floor_running(folder, answers) as (floor_ports, floor_pid):
            floor = Server("floor", lambda _model, _ports: [], tuple(side.floor for side in SIDES))
            servers = ((OURS, ports, ours.pid), (floor, floor_ports, floor_pid))
            for _ in range(options.rounds):
                for index, connections in product(range(len(SIDES)), plan.connections):
                    for server, at, pid in servers:
                        endpoint = server.endpoints[index]
                        row = Row(endpoint.label, DOCUMENTS, connections)
                        figures = measure_row(server, endpoint, row, plan, at, pid)
                        rows.setdefault(row, []).append(figures)
                        print(f"{row.label}, {connections} conn.: {figures.cpu_us:.1f} us", file=sys.stderr)
    return rows


def beyond_table(rows: Mapping[Row, Figures], model_us: float) -> str:
    """Of what a request costs beyond the model, how much is the floor's."""
    lines = []
    for side in SIDES:
        for row, ours in rows.items():
            if row.label == side.endpoint.label:
                floor = rows[Row(side.floor.label, DOCUMENTS, row.connections)]
                parts = (ours.cpu_us, ours.cpu_us - model_us, floor.cpu_us, ours.cpu_us - model_us - floor.cpu_us)
                lines.append([side.name, str(row.connections), *(f"{part:.1f}" for part in parts)])
    head = ("CPU us a request", "connections", "ours", "beyond the model", "the floor", "beyond both")
    return markdown(head, lines)


def checks(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    """Whether what is asked can be had at all."""
    for side in SIDES:
        floor = rows.get(Row(side.floor.label, DOCUMENTS, CHECKED_AT))
        if floor is not None:
            asked = TARGETS[side.name].beyond_us
            what = f"CPU of sockets and loop alone by {side.name} at {CHECKED_AT} connections"
            yield Check(what, f"< {asked:g} us", f"{floor.cpu_us:.1f} us", floor.cpu_us < asked)
    yield no_errors(rows.values())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.floor",
        epilog="The exit status is 1 when what is asked is below the floor, 2 when nothing can be measured.",
    )
    parser.add_argument("--model", type=Path, default=MODEL, metavar="FILE", help="default: models/classifier.pt")
    add_load_options(parser, rounds=5, seconds=2.0, warmup=0.5)
    return parsed(parser, arguments, QUICK)


def model_us(options: argparse.Namespace, folder: Path) -> float:
    """CPU of a document by the model alone, in large batches on one thread."""
    fixed = {DOCUMENTS: write_documents(folder)[DOCUMENTS]}
    plan = Plan(options.model.resolve(), fixed, options.connections, options.seconds, options.warmup, LOGS)
    figures = measure_model(plan).figures[DOCUMENTS]
    return median(each.cpu_us_per_document for each in figures if each.threads == 1 and each.batch == MODEL_BATCH)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            alone = model_us(options, Path(folder))
            rounds = measure(options, Path(folder))
    except (LoadError, AnswerError, MeasureError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    rows = {row: middle_row(figures) for row, figures in rounds.items()}
    verdict = list(checks(rows))
    print(f"{machine_line()}; the model alone: {alone:.1f} us a document\n\n{server_table(rounds)}\n")
    print(f"{beyond_table(rows, alone)}\n\n{check_table(verdict, 'the floor')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
