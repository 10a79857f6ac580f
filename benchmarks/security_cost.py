"""What TLS and tokens cost a request on a kept connection.

    python -m benchmarks.security_cost

Four of our servers run all the time: two that are open to everybody, one that asks for a token, and one that speaks
TLS. The same client (security_client.py) asks them in turns, by HTTP and by Thrift. What counts is the processor time
of the event loop's thread: there TLS and tokens are seen to, and the model runs elsewhere. By how much the two open
ones differ is as much as these figures are off. A token costs less than that: token_cost.py measures it without
sockets.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import ipaddress
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from benchmarks.arguments import MODEL, add_times, number, parsed
from benchmarks.checks import Check
from benchmarks.embeddings import LOGS, is_listening
from benchmarks.endpoints import HOST, free_port
from benchmarks.floor import SIDES, Side
from benchmarks.measure import MeasureError
from benchmarks.process import ROOT, ServerProcess, StartError
from benchmarks.report import machine_line
from benchmarks.table import check_table, markdown
from benchmarks.token_cost import AGAIN, OPEN, TOKEN, TURNS, Costs, beyond_open_us
from benchmarks.token_cost import measure as measure_tokens
from process.security.token_file import new_token
from server.tokens import line_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TLS = "TLS"
MOST_OF_TOKEN_US, MOST_OF_TLS_US = 1.0, 15.0
QUICK = {"rounds": 1, "seconds": 0.5, "warmup": 0.2, "turns": 100}
ANSWERS = {"HTTP": b"HTTP/1.1 200 OK\r\n", "Thrift": b"\x80\x01\x00\x02"}


@dataclass(frozen=True)
class Case:
    """A server, and how it is asked."""

    name: str
    options: tuple[str, ...]
    token: str | None = None
    ca: Path | None = None

    def first(self, side: Side) -> bytes:
        """What a connection begins with."""
        return f"Bearer {self.token}\n".encode() if self.token is not None and side.name == "Thrift" else b""

    def request(self, side: Side) -> bytes:
        """The request, with the token where the protocol has a place for it."""
        if self.token is None or side.name != "HTTP":
            return side.request
        line, rest = side.request.split(b"\r\n", 1)
        return b"\r\n".join((line, f"Authorization: Bearer {self.token}".encode(), rest))


@dataclass(frozen=True)
class Running:
    """A case whose server is ready."""

    case: Case
    ports: list[int]
    pid: int


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def cases_in(folder: Path) -> tuple[Case, ...]:
    """All, with their files in `folder`."""
    token, tokens = new_token(), folder / "tokens.toml"
    tokens.write_text(line_of("benchmark", token, {}) + "\n")
    tokens.chmod(0o600)
    certificate, key = self_signed(folder)
    return (
        Case(OPEN, ()),
        Case(AGAIN, ()),
        Case(TOKEN, ("--token-file", str(tokens)), token=token),
        Case(TLS, ("--tls-certificate", str(certificate), "--tls-key", str(key)), ca=certificate),
    )


@contextlib.contextmanager
def running(case: Case, model: Path) -> Iterator[Running]:
    """The case's server. Raises StartError."""
    ports = [free_port(), free_port()]
    flags = ("--host", HOST, "--port", str(ports[0]), "--rest-port", str(ports[1]), "--inline-us", "0")
    command = [sys.executable, "-m", "server", str(model), *flags, *case.options]
    log = LOGS / f"ours-{case.name.replace(' ', '-')}.log"
    with ServerProcess(f"ours, {case.name}", command, {}, log) as process:
        process.wait_ready(
            lambda: "Server running" in log.read_text(errors="replace") and all(map(is_listening, ports))
        )
        yield Running(case, ports, process.pid)


def loop_cpu_s(pid: int) -> float:
    """CPU seconds of the process's first thread, which runs the event loop (proc_pid_schedstat(5))."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def cost_us(server: Running, side: Side, options: argparse.Namespace, folder: Path) -> float:
    """CPU microseconds of the event loop for a request. Raises MeasureError."""
    case = server.case
    first, request = folder / "first", folder / "request"
    first.write_bytes(case.first(side))
    request.write_bytes(case.request(side))
    command = [sys.executable, "-m", "benchmarks.security_client", "--port", str(server.ports[side.endpoint.port])]
    for name in ("connections", "seconds", "warmup"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--first", str(first), "--request", str(request), "--answer", ANSWERS[side.name].hex()]
    command += ["--ca", str(case.ca)] if case.ca is not None else []
    cpu: dict[str, float] = {}
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        for line in client.stderr:
            if line.strip() in ("measuring", "measured"):
                cpu[line.strip()] = loop_cpu_s(server.pid)
            else:
                said.append(line)
        output = client.stdout.read()
    if client.returncode != 0 or not int(output):
        raise MeasureError(f"{case.name} by {side.name} cannot be measured:\n{''.join(said)[-4000:]}")
    return (cpu["measured"] - cpu["measuring"]) / int(output) * 1e6


def measure(options: argparse.Namespace, folder: Path) -> Costs:
    """All rounds; in each, the cases take turns, by HTTP and by Thrift."""
    costs: Costs = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(case, options.model.resolve())) for case in cases_in(folder)]
        for _ in range(options.rounds):
            for side, server in product(SIDES, servers):
                cost = cost_us(server, side, options, folder)
                costs.setdefault((side.name, server.case.name), []).append(cost)
                print(f"{side.name}, {server.case.name}: {cost:.1f} us", file=sys.stderr)
    return costs


def off_us(costs: Costs, protocol: str) -> float:
    """By how much the two open servers differ."""
    return abs(beyond_open_us(costs, protocol, AGAIN))


def checks(costs: Costs, without_sockets: Costs) -> Iterator[Check]:
    """What is asked."""
    for side in SIDES:
        token = beyond_open_us(without_sockets, side.name, TOKEN)
        measured = f"{token:.2f} us (+-{off_us(without_sockets, side.name):.2f})"
        asked = f"<= {MOST_OF_TOKEN_US:g} us a request"
        yield Check(f"token by {side.name}, without sockets", asked, measured, token <= MOST_OF_TOKEN_US)
    for side in SIDES:
        tls = beyond_open_us(costs, side.name, TLS)
        measured = f"{tls:.1f} us (+-{off_us(costs, side.name):.1f})"
        yield Check(f"TLS by {side.name}", f"<= {MOST_OF_TLS_US:g} us a request", measured, tls <= MOST_OF_TLS_US)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.security_cost",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FILE", help="default: models/classifier.pt")
    add("--connections", type=number(int, 1, 1000), default=16, help="default: %(default)s")
    add_times(parser, rounds=9, seconds=1.0, warmup=0.3)
    add(
        "--turns",
        type=number(int, 1, 100_000),
        default=TURNS,
        help="of each port without sockets; default: %(default)s",
    )
    add("--quick", action="store_true", help="one round of half a second: to see that it works")
    return parsed(parser, arguments, QUICK)


def table(costs: Costs, where: str, digits: int = 1) -> str:
    """Medians of the rounds, or turns."""
    lines = [[protocol, case, f"{median(figures):.{digits}f}"] for (protocol, case), figures in costs.items()]
    return markdown(("protocol", "server", f"CPU us a request, event loop, {where}"), lines, text_columns=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(options, Path(folder))
            without = measure_tokens(options.model.resolve(), Path(folder), options.turns)
    except (MeasureError, StartError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    verdict = list(checks(costs, without))
    tables = f"{table(costs, 'over sockets')}\n\n{table(without, 'without sockets', 2)}"
    print(f"{machine_line()}\n\n{tables}\n\n{check_table(verdict, 'beyond the open server')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
