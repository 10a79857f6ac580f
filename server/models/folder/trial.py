"""Runs a package once: what package_file.try_package starts as a process of its own.

It reads a JSON object with path, device, padding_id, id and length, and prints why the package cannot be served.
"""

from __future__ import annotations

import json
import sys

from ext import _encoder


def main() -> int:
    """Gives 0, or 1 where the package was refused."""
    given = json.load(sys.stdin)
    try:
        program = _encoder.Program.package(given["path"], given["device"], 1, given["padding_id"])
        program.try_text(given["id"], given["length"])
    except _encoder.ModelError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
