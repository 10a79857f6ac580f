"""The process in which chat templates are rendered: `python -m server.models.chat.worker`.

Messages on stdin and stdout are JSON behind four bytes of length. The first brings the templates and the limits, every
further one a conversation, which is answered with its text or with why there is none.

The kernel ends this process when one conversation takes more processor time than allowed, whatever a template does; it
gives it no more memory than allowed; and what a template writes is counted as it comes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

from jinja2.exceptions import TemplateError, TemplateSyntaxError

from server.models.chat import environment

_LONGEST_REASON = 500


class _TooLongError(Exception):
    """The template writes too much."""


class Worker:
    """Renders conversations, one after the other."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._sources: dict[str, str] = given["sources"]
        self._cpu_s: float = given["cpu_ms"] / 1000
        self._most: int = given["most_characters"]
        self._environment = environment.make()
        self._compiled: dict[str, Any] = {}
        resource.setrlimit(resource.RLIMIT_AS, (given["memory_bytes"], given["memory_bytes"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def answer(self, message: bytes) -> dict[str, str]:
        """{"text"}, or {"error", "message"}: what a call is to be told."""
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)  # SIGPROF ends this process
        try:
            asked = json.loads(message)
            return {"text": self._render(asked["template"], asked["variables"])}
        except _TooLongError:
            return {"error": "too long", "message": f"it makes more than {self._most} characters"}
        except MemoryError:
            return {"error": "memory", "message": "it takes more memory than it may"}
        except TemplateSyntaxError as error:
            return {"error": "failed", "message": _shown(f"line {error.lineno}: {error.message}")}
        except Exception as error:
            refused = type(error) is TemplateError  # what raise_exception raises
            message_ = str(error) if refused else f"{type(error).__name__}: {error}"
            return {"error": "refused" if refused else "failed", "message": _shown(message_)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _render(self, name: str, variables: dict[str, Any]) -> str:
        template = self._compiled.get(name)
        if template is None:
            template = self._compiled[name] = self._environment.from_string(self._sources[name])
        parts, size = [], 0
        for part in template.generate(**variables):
            size += len(part)
            if size > self._most:
                raise _TooLongError
            parts.append(part)
        return "".join(parts)


def _shown(reason: str) -> str:
    return " ".join(reason.split())[:_LONGEST_REASON]


def main() -> None:
    """Until stdin ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may come between the answers
    worker = None
    while (header := source.read(4)) and len(header) == 4:
        message = source.read(int.from_bytes(header))
        if worker is None:
            worker = Worker(json.loads(message))
            continue
        content = _encoded(worker.answer(message))
        sink.write(len(content).to_bytes(4) + content)
        sink.flush()


def _encoded(answer: dict[str, str]) -> bytes:
    try:
        return json.dumps(answer, ensure_ascii=False).encode(errors="surrogatepass")
    except MemoryError:
        return json.dumps({"error": "memory", "message": "it takes more memory than it may"}).encode()


if __name__ == "__main__":
    main()
