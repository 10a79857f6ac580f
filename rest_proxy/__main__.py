"""Command line of the HTTP proxy: `python -m rest_proxy --help`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvloop

from process import logs
from process.files import raise_open_files_limit
from process.security.openness import OpenError
from process.security.tls import TlsError
from process.security.token_file import TokenFileError
from rest_proxy.config import SETTINGS_ON_STDIN, Settings, parse_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


_OTHER_FILES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until it is told to stop. Gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_child = list(arguments) == [SETTINGS_ON_STDIN]
    settings = Settings.model_validate_json(sys.stdin.buffer.readline()) if is_child else parse_settings(arguments)
    # Only now: the HTTP library takes longer to import than --help and a refusal take altogether.
    from rest_proxy.lifecycle import serve

    logs.configure(settings)
    raise_open_files_limit(_open_files(settings), "max_connections, connections, max_generations")
    try:
        uvloop.run(serve(settings, ends_with_stdin=is_child))
    except TokenFileError as error:
        print(f"{error} (setting token_file)", file=sys.stderr)
        return 1
    except (OpenError, TlsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot serve on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    return 0


def _open_files(settings: Settings) -> int:
    """Sockets that the settings allow, and what else the process has open."""
    to_servers = len(settings.thrift) * (settings.connections + 1) + settings.max_generations
    return settings.max_connections + to_servers + _OTHER_FILES


if __name__ == "__main__":
    sys.exit(main())
