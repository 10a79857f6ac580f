"""Command line of the HTTP proxy: `python -m rest_proxy --help`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvloop

from rest_proxy import logs
from rest_proxy.config import parse_settings
from rest_proxy.lifecycle import serve

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until it is told to stop. Gives the exit code."""
    settings = parse_settings(arguments)
    logs.configure(settings.log_level)
    try:
        uvloop.run(serve(settings))
    except OSError as error:
        print(f"cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
