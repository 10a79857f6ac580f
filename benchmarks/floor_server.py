"""A server that answers every read with the same bytes: what is left of a server when it does nothing.

It runs on the loop that ours runs on, and writes as ours does: at the end of a pass, one piece a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from pathlib import Path

import uvloop

from benchmarks.endpoints import HOST


class Answering(asyncio.Protocol):
    """One connection, on which a request comes in one piece."""

    _transport: asyncio.Transport  # there from connection_made on

    def __init__(self, answer: bytes, unanswered: list[asyncio.Transport]) -> None:
        """`unanswered`: those of all connections, in this pass of the loop."""
        self._answer = answer
        self._unanswered = unanswered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]  # of TCP: as asyncio.Transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if not self._unanswered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unanswered.append(self._transport)

    def _flush(self) -> None:
        for transport in self._unanswered:
            transport.write(self._answer)
        self._unanswered.clear()


async def serve(answers: list[tuple[int, bytes]]) -> None:
    """Answer on each port with its bytes, until the process is ended."""
    loop = asyncio.get_running_loop()
    unanswered: list[asyncio.Transport] = []
    for port, answer in answers:
        await loop.create_server(lambda answer=answer: Answering(answer, unanswered), HOST, port)  # type: ignore[misc]
    gc.freeze()
    await asyncio.Event().wait()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor_server", description=__doc__)
    parser.add_argument("answers", nargs="+", metavar="PORT=FILE", help="a port, and the file with what it answers")
    answers = [argument.split("=", 1) for argument in parser.parse_args().answers]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve([(int(port), Path(file).read_bytes()) for port, file in answers]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
