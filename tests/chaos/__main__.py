"""Everything at once, against a real server, and then the question whether anything was lost.

    python -m tests.chaos [--requests 10000] [--clients 64] [--seed N] [--http inside proxy]

64 clients send 10,000 requests to both ports: a third is malformed, some clients vanish at every stage, some models
raise. Meanwhile children of the server are killed, models loaded anew, and jobs run. At the end every good request must
have had its right answer, memory, descriptors and threads must be back, the log without a traceback, and the next
request fast. Ends with 0 where all of that holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos import measures
from tests.chaos.clients import Clients
from tests.chaos.line import Line
from tests.chaos.models import models
from tests.chaos.questions import questions
from tests.chaos.trouble import Trouble
from tests.support.service import ROOT, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.questions import Question

MODELS = ROOT / "build" / "chaos"
REHEARSAL = 0.15
"""Share of the requests that come before anything is measured: what is allocated once is no leak."""

_SHOWN = 20
_TRACEBACK = "Traceback (most recent call last)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives 0 when all is well, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests of a round (%(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="number of clients (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="of all that comes by chance")
    parser.add_argument(
        "--http", nargs="+", choices=("inside", "proxy"), default=("inside", "proxy"), help="a round for each"
    )
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}: python -m tests.chaos --seed {given.seed} makes the same chances", flush=True)
    complaints = 0
    for http in given.http:
        complaints += Round(http, given.requests, given.clients, given.seed).run()
    print("chaos: all is well" if not complaints else f"chaos: {complaints} COMPLAINTS (seed {given.seed})")
    return int(complaints > 0)


class Round:
    """With one server."""

    def __init__(self, http: str, requests: int, clients: int, seed: int) -> None:
        self._http = http
        self._requests = requests
        self._clients = clients
        self._seed = seed
        self._models = models(MODELS)

    def run(self) -> int:
        """How many complaints there are, which are printed."""
        with tempfile.TemporaryDirectory(prefix="predictor-chaos-") as folder, self._service(Path(folder)) as service:
            complaints = asyncio.run(self._chaos(service, Path(folder)))
            complaints += _of_log(service.log)
            for complaint in complaints[:_SHOWN]:
                print(f"  COMPLAINT: {complaint}")
            if len(complaints) > _SHOWN:
                print(f"  and {len(complaints) - _SHOWN} more")
            if complaints:
                kept = MODELS / f"log-{self._http}-{self._seed}"
                kept.write_text(service.log_text)
                print(f"  the server's log: {kept}")
            return len(complaints)

    def _service(self, folder: Path) -> Service:
        return Service(
            *(f"--model={name}={path}" for name, path in self._models.items()),
            f"--model-root={MODELS}",
            f"--batch-roots={folder}",
            f"--jobs-db={folder / 'jobs.sqlite'}",
            f"--http={self._http}",
            "--warm-up-tokens=8",
            "--log-format=json",
        )

    async def _chaos(self, service: Service, folder: Path) -> list[str]:
        asked = questions()
        right = await _answers(service, asked)
        print(f"http={self._http}: {len(asked)} questions have their right answers", flush=True)
        rehearsed, _ = await self._run(service, folder, asked, right, round(self._requests * REHEARSAL), "rehearsal")
        await asyncio.sleep(1)
        before = await asyncio.to_thread(measures.held, service)
        _, usual_s = await asyncio.to_thread(measures.answer_s, service)

        began = time.monotonic()
        complaints, lines = await self._run(service, folder, asked, right, self._requests, "chaos")
        seconds = time.monotonic() - began

        next_s, after_s = await asyncio.to_thread(measures.answer_s, service)
        after = await asyncio.to_thread(measures.settled, service, before)
        complaints += rehearsed + measures.complaints(before, after)
        for what, found in (("the next request", next_s), ("a request afterwards (median)", after_s)):
            if found > 3 * usual_s + measures.SLOWER_S:
                complaints.append(f"{what} took {found * 1000:.1f} ms, {usual_s * 1000:.2f} before")
        print(f"http={self._http}: {self._requests} requests of {self._clients} clients in {seconds:.1f} s")
        print("\n".join(f"  {line}" for line in lines))
        print(
            f"  memory {before.memory_bytes >> 20} -> {after.memory_bytes >> 20} MiB, connections {before.connections}"
            f" -> {after.connections}, other descriptors {before.descriptors} -> {after.descriptors}, threads"
            f" {before.threads} -> {after.threads}, children {before.children} -> {after.children}"
        )
        print(
            f"  a request: {usual_s * 1000:.2f} ms before; {next_s * 1000:.2f} ms the next one,"
            f" {after_s * 1000:.2f} ms the median of 21",
            flush=True,
        )
        return complaints

    async def _run(
        self, service: Service, folder: Path, asked: list[Question], right: dict[str, Any], requests: int, part: str
    ) -> tuple[list[str], list[str]]:
        """(complaints, figures) of so many requests in the midst of trouble."""
        below = folder / part
        below.mkdir()
        ports = {"thrift": service.port, "http": service.rest_port}
        clients = Clients(ports, asked, right, asks_again=self._http == "proxy")
        trouble = Trouble(service, self._models, below, random.Random(f"{self._seed} {part} trouble"))
        over = asyncio.Event()
        troubling = asyncio.create_task(trouble.until(over))
        rngs = [random.Random(f"{self._seed} {part} {number}") for number in range(self._clients)]
        await clients.run(rngs, requests)
        over.set()
        await troubling
        lines = [_listed(clients.counts), _listed(clients.kinds), _listed(trouble.counts)]
        lines.append(f"the slowest good answer took {clients.slowest_s:.2f} s")
        complaints = clients.complaints + trouble.complaints
        for what in ("children killed", "models loaded anew", "jobs run"):
            if part == "chaos" and not trouble.counts[what]:
                complaints.append(f"{what}: none, so nothing is shown")
        return complaints, lines


async def _answers(service: Service, asked: list[Question]) -> dict[str, Any]:
    """The right ones, from a server that has nothing else to do; asked twice, they must be the same."""
    ports = {"thrift": service.port, "http": service.rest_port}
    right: dict[str, Any] = {}
    for question in asked * 2:
        line = await Line.to(ports[question.port])
        answer = await question.ask(line)
        line.close()
        assert right.setdefault(question.name, answer) == answer, f"{question.name} has two answers"
    return right


def _of_log(entries: list[dict[str, Any]]) -> list[str]:
    """Faults that nobody foresaw."""
    found = []
    for entry in entries:
        text = json.dumps(entry)
        # A traceback of TorchScript's own, within the error of a model that raises, is what is to be there.
        if "exception" in entry or _TRACEBACK in text or "never retrieved" in text or "text" in entry:
            found.append(f"in the log: {text[:600]}")
    return found


def _listed(counts: Any) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
