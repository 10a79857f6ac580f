"""llama.cpp's server as a child process of a test."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from tests.support.service import Child, free_port, http_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LlamaServer(Child):
    """Loaded and listening at the beginning of the block; another on the same port takes its place."""

    def __init__(
        self,
        model: Path,
        task: str = "generate",
        *,
        port: int = 0,
        key: str = "",
        settings: Mapping[str, int] | None = None,
    ) -> None:
        """`task`: generate, embed or rerank. `settings`: other values of xllamacpp's CommonParams, by their paths."""
        self.port = port or free_port()
        given = [f"--set={name}={value}" for name, value in (settings or {}).items()]
        super().__init__("tests.support.llama_cpp", model, self.port, task, *given, *([f"--key={key}"] if key else []))

    def started(self) -> None:
        """Wait for the line that says where it listens."""
        assert self.read_stdout_line(), "it has ended"

    @property
    def location(self) -> str:
        """What our server calls its model."""
        return f"openai://127.0.0.1:{self.port}/tiny"

    def ask(self, path: str, body: str | None = None) -> Any:
        """Its own answer."""
        method = "GET" if body is None else "POST"
        answer = http_request(self.port, path, method=method, body=body, headers={"Content-Type": "application/json"})
        assert answer.status == 200, answer.text
        return answer.json()

    def busy_slots(self) -> int:
        """How many texts it works on."""
        return sum(slot["is_processing"] for slot in self.ask("/slots"))

    def kill(self) -> None:
        """By SIGKILL, at once."""
        self.signal(signal.SIGKILL)
        self.wait()
