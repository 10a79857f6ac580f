"""Command line of the HTTP proxy: `python -m rest_proxy --help`."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import uvloop

from rest_proxy import logs
from rest_proxy.config import parse_settings
from rest_proxy.lifecycle import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_proxy.config import Settings

_OTHER_FILES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until it is told to stop. Gives the exit code."""
    settings = parse_settings(arguments)
    logs.configure(settings.log_level)
    _raise_file_limit(settings)
    try:
        uvloop.run(serve(settings))
    except OSError as error:
        print(f"cannot serve on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    return 0


def _raise_file_limit(settings: Settings) -> None:
    """Let the process open as many sockets as its settings allow; shells often give it 1024."""
    to_servers = len(settings.thrift) * (settings.connections + 1) + settings.max_generations
    needed = settings.max_connections + to_servers + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


if __name__ == "__main__":
    sys.exit(main())
