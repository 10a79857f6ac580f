"""llama.cpp's own server in a process of its own, from the package xllamacpp, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import selectors
import time
from contextlib import ExitStack, closing
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.language_models import models
from benchmarks.language_models.engines import Gaps, Tokens, differences
from benchmarks.process import memory
from tests.support.llama_cpp.server import LlamaServer

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOT_TOKENS = 1536  # of the longest prompt and what is added to it
PATIENCE_S = 300
_EVENT = b"data: "
_END = b'"stop":true'


def instructions() -> str:
    """Those that the package's build uses: what its processor has more is left alone."""
    import xllamacpp  # type: ignore[import-untyped]

    features = re.findall(r"(\w+) = 1", str(xllamacpp.get_system_info()))
    return ", ".join(features)


class LlamaCpp:
    """A `Server`. The keys and values are in half precision, as it has them by default."""

    name = "llama.cpp"

    def __init__(self, shape: str, precision: str, threads: int, slots: int) -> None:
        self._stack = ExitStack()
        settings = {
            "n_parallel": slots,
            "n_ctx": slots * SLOT_TOKENS,
            "cpuparams.n_threads": threads,
            "cpuparams_batch.n_threads": threads,
            "n_threads_http": slots + 4,
            "cache_ram_mib": 0,  # else it copies what a slot forgets
        }
        path = models.gguf_of(shape, precision)
        self._server = self._stack.enter_context(LlamaServer(path, settings=settings))

    @property
    def memory(self) -> float:
        """MiB of its process."""
        return memory(self._server.pid).rss

    def texts(self, prompts: Sequence[Tokens], count: int) -> tuple[list[Tokens], float]:
        """See Engine."""
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(self._connection())) for _ in prompts]
            begin = time.perf_counter()
            for connection, tokens in zip(connections, prompts, strict=True):
                self._ask(connection, tokens, count)
            answers = [json.loads(connection.getresponse().read()) for connection in connections]
            return [answer["tokens"] for answer in answers], time.perf_counter() - begin

    def first_tokens(self, prompts: Sequence[Tokens], count: int) -> list[float]:
        """See Server."""
        with ExitStack() as stack, selectors.DefaultSelector() as waiting:
            connections = [stack.enter_context(closing(self._connection())) for _ in prompts]
            begin = time.perf_counter()
            for connection, tokens in zip(connections, prompts, strict=True):
                self._ask(connection, tokens, count, streamed=True)
                waiting.register(connection.sock, selectors.EVENT_READ)
            first: dict[int, float] = {}
            while waiting.get_map():
                for key, _ in waiting.select(PATIENCE_S):
                    content = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if _EVENT in content:
                        first.setdefault(key.fd, time.perf_counter() - begin)
                    if _END in content or not content:
                        waiting.unregister(key.fileobj)
            return sorted(first.values())

    def gaps(self, text: Tokens, usual: int, other: Tokens) -> Gaps:
        """See Server."""
        with closing(self._connection()) as growing, closing(self._connection()) as reading:
            self._ask(growing, text, SLOT_TOKENS - len(text) - 1, streamed=True)
            times: list[float] = []
            while len(times) < usual:
                if _EVENT in growing.sock.recv(1 << 16):
                    times.append(time.perf_counter())
            expected = median(differences(times))
            self._ask(reading, other, 1)
            times = times[-1:]
            with selectors.DefaultSelector() as waiting:
                waiting.register(growing.sock, selectors.EVENT_READ)
                waiting.register(reading.sock, selectors.EVENT_READ)
                while not any(key.fileobj is reading.sock for key, _ in waiting.select(PATIENCE_S)):
                    if _EVENT in growing.sock.recv(1 << 16):
                        times.append(time.perf_counter())
                times.append(time.perf_counter())
            alone = times[-1:]
            while alone[-1] - times[-1] < times[-1] - times[0]:
                content = growing.sock.recv(1 << 16)
                if _END in content or not content:
                    break
                if _EVENT in content:
                    alone.append(time.perf_counter())
            return Gaps(expected, differences(times), differences(alone))

    def _connection(self) -> Any:
        return http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)

    def _ask(self, connection: Any, tokens: Tokens, count: int, *, streamed: bool = False) -> None:
        body = {"prompt": tokens, "n_predict": count, "temperature": 0, "ignore_eos": True, "return_tokens": True}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/completion", json.dumps(body | {"stream": streamed}), headers)

    def close(self) -> None:
        """See Engine."""
        self._server.kill()
        self._stack.close()
