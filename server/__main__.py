"""The command line: python -m server MODEL [--model NAME=LOCATION ...]."""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from server import logs
from server.config import parse_settings
from server.lifecycle import Server, StartError

if TYPE_CHECKING:
    from server.config import Settings

_OTHER_FILES = 256  # models, jobs, the log: all but the clients' sockets


async def _serve() -> None:
    settings = parse_settings()
    logs.configure(settings)
    _raise_file_limit(settings)
    await Server(settings).run()


def _raise_file_limit(settings: Settings) -> None:
    """Let the process have as many sockets as the setting `connections` says; shells often give it 1024 files."""
    needed = settings.connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < needed:
            structlog.get_logger().warning(
                "the system allows fewer open files than the setting connections asks for", allowed=hard, needed=needed
            )


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 0 when every accepted request was answered."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
