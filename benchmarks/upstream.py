"""What our server adds to a request of an upstream server: the time of its processor, by llama.cpp's server.

python -m benchmarks.upstream
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ChatMessage, GenerationOptions

from tests.support.llama_cpp.models import write_llama
from tests.support.llama_cpp.server import LlamaServer
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

_CLIENTS = 16
_CALLS = 100
_EVENTS = 200
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints a line for each kind of request."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_llama(Path(folder) / "tiny.gguf")
        with LlamaServer(model, "embed") as embeds, LlamaServer(model) as generates:
            with Service(generates.location, f"--model=emb={embeds.location},serves=embed", "--http=off") as service:
                _measure(service)
            generates.kill()
            embeds.kill()


def _measure(service: Service) -> None:
    one, many = (GenerationOptions(max_tokens=count, temperature=0, ignore_eos=True) for count in (1, 1 + _EVENTS))
    said = [ChatMessage("user", "the one and the other")]
    vector = _microseconds(service, lambda client: client.embed("the one and the other", None, None))
    text = _microseconds(service, lambda client: client.generate("the one and the other", one, None))
    answer = _microseconds(service, lambda client: client.chat(said, one, None, None))
    long = _microseconds(service, lambda client: client.generate("the one and the other", many, None))
    print(f"a vector          {vector:6.0f} us")
    print(f"a text of 1 token {text:6.0f} us")
    print(f"a chat of 1 token {answer:6.0f} us")
    print(f"a further token   {(long - text) / _EVENTS:6.1f} us")


def _microseconds(service: Service, call: Callable[[Any], object]) -> float:
    """Of the server's processor, a call."""

    def calls(count: int) -> None:
        with service.client(timeout_s=300) as client:
            for _ in range(count):
                call(client)

    with ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(calls, [5] * _CLIENTS))
        before = _processor_s(service.pid)
        list(clients.map(calls, [_CALLS] * _CLIENTS))
    return (_processor_s(service.pid) - before) * 1e6 / (_CLIENTS * _CALLS)


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
