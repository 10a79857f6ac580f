"""Tries one model: what Trials starts as a process of its own.

It reads a line of JSON (location, of_hub, seconds, memory_bytes, settings) and answers with one object: {"whole"}, or
{"error"}, why the model cannot be served.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from process.supervision import end_with_stdin

_MORE_S = 10
_NICE = 5


def main() -> None:
    """Until the answer is written."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a model prints is no answer
    given = json.loads(sys.stdin.buffer.readline())
    _limit(given["seconds"], given["memory_bytes"])
    end_with_stdin()
    content = json.dumps(_outcome(given)).encode()
    while content:
        content = content[os.write(answer, content) :]
    sys.stderr.flush()
    os._exit(0)  # threads of a model need not end


def _limit(seconds: float, memory_bytes: int | None) -> None:
    """What this process may take, in case that its parent cannot end it."""
    signal.alarm(int(seconds) + _MORE_S)
    os.nice(_NICE)  # calls that are being answered go first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        # what it may write to; files that are only read, and room that is only reserved, do not count
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most == resource.RLIM_INFINITY or memory_bytes < most:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, this one goes first


def _outcome(given: dict[str, Any]) -> dict[str, object]:
    from server.config import Settings  # only now: with limits, and while the parent can end this process
    from server.errors import ModelError
    from server.models import kinds
    from server.models.trial.sample import tried

    settings = Settings.model_validate_json(given["settings"])
    try:
        if given["of_hub"]:
            kinds.check_data(given["location"], settings)
            return {"whole": False}
        return {"whole": asyncio.run(tried(given["location"], settings))}
    except (ModelError, OSError) as error:
        return {"error": str(error)}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in a library of Rust is no Exception
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
