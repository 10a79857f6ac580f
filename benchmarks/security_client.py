"""A client that sends the same request again and again on kept connections, in plain TCP or by TLS.

It prints how many answers came in the measured time, which is between the lines `measuring` and `measured` on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from pathlib import Path

import uvloop

from benchmarks.endpoints import HOST


class Asking(asyncio.Protocol):
    """One connection. Answers are small: each comes in one piece."""

    _transport: asyncio.Transport  # there from connection_made on

    def __init__(self, first: bytes, request: bytes, answer: bytes) -> None:
        """`first` goes before the first request; every answer begins with `answer`."""
        self._first = first
        self._request = request
        self._answer = answer
        self.answers = 0
        self.wrong: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's for TLS is no asyncio.Transport
        self._transport.write(self._first + self._request)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if not data.startswith(self._answer):
            self.wrong = data
            self._transport.abort()
            return
        self.answers += 1
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.wrong = self.wrong or b"the connection was closed"


async def ask(options: argparse.Namespace) -> int:
    """The answers in the measured time. Raises ConnectionError where one was wrong."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=str(options.ca)) if options.ca is not None else None
    first, request = options.first.read_bytes(), options.request.read_bytes()
    connections: list[Asking] = []
    for _ in range(options.connections):
        _, connection = await loop.create_connection(
            lambda: Asking(first, request, options.answer), HOST, options.port, ssl=context
        )
        connections.append(connection)
    await asyncio.sleep(options.warmup)
    before = sum(connection.answers for connection in connections)
    print("measuring", file=sys.stderr, flush=True)
    await asyncio.sleep(options.seconds)
    print("measured", file=sys.stderr, flush=True)
    for connection in connections:
        if connection.wrong is not None:
            raise ConnectionError(f"a wrong answer: {connection.wrong[:200]!r}")
    return sum(connection.answers for connection in connections) - before


def main() -> int:
    """Ask, and print how many answers came."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.security_client", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--connections", type=int, required=True)
    add("--seconds", type=float, required=True)
    add("--warmup", type=float, required=True, help="seconds before the measured time")
    add("--first", type=Path, required=True, help="file with what is sent once, before the first request")
    add("--request", type=Path, required=True, help="file with the bytes of the request")
    add("--answer", type=bytes.fromhex, required=True, metavar="HEX", help="the bytes that every answer begins with")
    add("--ca", type=Path, help="authority of the server's certificate; without it plain TCP")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            print(runner.run(ask(options)))
        except OSError as error:
            print(f"security client: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
