"""The command line: python -m server MODEL [--model NAME=LOCATION ...]."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from process import logs
from process.files import raise_open_files_limit
from server.config import parse_settings

_OTHER_FILES = 256  # models, jobs, the log: all but the clients' sockets


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 0 when every accepted request was answered."""
    settings = parse_settings()
    logs.configure(settings)
    if settings.http == "inside":
        raise_open_files_limit(
            settings.connections + settings.rest_max_connections + _OTHER_FILES, "connections, rest_max_connections"
        )
    else:
        raise_open_files_limit(settings.connections + _OTHER_FILES, "connections")
    # Only now: models' engines take longer to import than --help and a refusal take altogether.
    from server.lifecycle import StartError, serve

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
