"""The process that renders a model's chat templates, seen from the event loop.

It gets one conversation at a time, so that when it ends it is known whose fault that was: that call is refused, and a
new process goes on with the others.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog

from server.calls import Pending
from server.errors import deadline_exceeded, internal, invalid_argument, overloaded, too_large, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.errors import PredictionError

log = structlog.get_logger()

_WORKER = "server.models.chat.worker"
_RETRY_MS = 100

_MOST_KILLS = 3
"""Of processes that render the same conversation; one more, and it may be its fault: for want of memory, perhaps."""


class Limits(NamedTuple):
    """Of one rendering; and how many conversations may wait for theirs."""

    cpu_ms: int
    memory_bytes: int
    most_characters: int
    waiting: int


class _Job(Pending[str]):
    """A conversation to be rendered."""

    __slots__ = ("frame", "kills", "timer")

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self.frame = frame
        self.kills = 0
        """How many processes were killed in its midst."""
        self.timer: asyncio.TimerHandle | None = None

    def abandon(self) -> None:
        """The caller went away: whatever comes of it, nobody is told."""
        if not self.done():
            self.fail(asyncio.CancelledError())

    def end(self, text: str | None, error: BaseException | None) -> None:
        """With a text or an error, if nobody ended it before."""
        if self.timer is not None:
            self.timer.cancel()
        if self.done():
            return
        if error is None:
            self.resolve(text or "")
        else:
            self.fail(error)


class Renderer:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, sources: Mapping[str, str], limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        first = {"sources": dict(sources), **limits._asdict()}
        self._first = _frame(json.dumps(first, ensure_ascii=False).encode(errors="surrogatepass"))
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._process: _Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closed = False
        self._start()

    async def render(self, template: str, variables: Mapping[str, Any], deadline_ns: int) -> str:
        """What the template makes of it. Raises PredictionError without a field: it is the whole conversation."""
        if self._closed:
            raise unavailable("the model is being unloaded", _RETRY_MS)
        if len(self._waiting) >= self._limits.waiting:
            raise overloaded("too many conversations wait for the chat template", _RETRY_MS, setting="queue_items")
        content = json.dumps({"template": template, "variables": variables}, ensure_ascii=False)
        job = _Job(_frame(content.encode(errors="surrogatepass")))
        wait_s = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
        late = deadline_exceeded("the deadline passed while the conversation waited for its chat template")
        job.timer = self._loop.call_later(wait_s, job.end, None, late)
        self._waiting.append(job)
        self._next()
        return await job

    async def close(self) -> None:
        """End the process; what waits is refused."""
        self._closed = True
        self._fail_all(unavailable("the model is being unloaded", _RETRY_MS))
        if self._starting is not None:
            await self._starting
        if self._process is not None:
            await self._process.end()

    # ------------------------------------------------------------------------------------------------------ the process

    def _start(self) -> None:
        if self._starting is None and self._process is None and not self._closed:
            self._starting = self._loop.create_task(self._spawn())

    async def _spawn(self) -> None:
        command = (sys.executable, "-P", "-m", _WORKER)
        try:
            _, process = await self._loop.subprocess_exec(lambda: _Process(self), *command, stderr=None)
        except OSError as error:  # no more processes or open files just now
            log.error("the process for chat templates could not be started", error=str(error))
            self._fail_all(internal("the process for chat templates could not be started", None))
            return
        finally:
            self._starting = None
        if process.gone:  # before it was known here
            self._next()
            return
        self._process = process
        if self._closed:
            return
        process.send(self._first)
        self._next()

    def _next(self) -> None:
        """Send the next conversation, when the process is free."""
        if self._running is not None:
            return
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        if not self._waiting:
            return
        if self._process is None:
            self._start()
            return
        self._running = self._waiting.popleft()
        self._process.send(self._running.frame)

    def answered(self, content: bytes) -> None:
        """The process has answered."""
        job, self._running = self._running, None
        if job is not None:
            answer = json.loads(content)
            if "text" in answer:
                job.end(answer["text"], None)
            else:
                job.end(None, self._refusal(answer["error"], answer["message"]))
        self._next()

    def ended(self, process: _Process, code: int | None) -> None:
        """A process is gone."""
        if self._process is process:
            self._process = None
        job, self._running = self._running, None
        if job is not None:
            if code == -signal.SIGKILL and job.kills < _MOST_KILLS:  # by somebody else: no template can do that
                log.error("the process for chat templates was killed; its conversation gets another one")
                job.kills += 1
                self._waiting.appendleft(job)
            elif code == -signal.SIGPROF:
                most = self._limits.cpu_ms
                job.end(None, self._refusal("time", f"it takes more than {most} ms of processor time"))
            else:
                log.error("the process for chat templates died", exit_code=code)
                job.end(None, self._refusal("failed", "it ends the process that it is rendered in"))
        if not self._closed:
            self._next()

    def _refusal(self, kind: str, message: str) -> PredictionError:
        if kind == "refused":
            return invalid_argument(f"the model's chat template refuses it: {message}", field="messages")
        text = f"the model's chat template cannot be applied: {message}"
        if kind == "too long":
            return too_large(text, field="messages", setting="max_message_bytes")
        setting = {"time": "chat_template_ms", "memory": "chat_template_bytes"}.get(kind)
        return invalid_argument(text, field="messages", setting=setting)

    def _fail_all(self, error: PredictionError) -> None:
        jobs = [*([self._running] if self._running is not None else ()), *self._waiting]
        self._running = None
        self._waiting.clear()
        for job in jobs:
            job.end(None, error)


class _Process(asyncio.SubprocessProtocol):
    """One process: what goes in, what comes out, and its end."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._received = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None
        self._gone = asyncio.Event()

    def send(self, frame: bytes) -> None:
        """To its stdin."""
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        if not pipe.is_closing():  # else it is dead, of which `ended` will be told
            pipe.write(frame)

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._gone.is_set()

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        assert self._transport is not None
        self._transport.kill()
        await self._gone.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 4:
            size = int.from_bytes(self._received[:4])
            if len(self._received) < 4 + size:
                return
            content = bytes(self._received[4 : 4 + size])
            del self._received[: 4 + size]
            self._renderer.answered(content)

    def process_exited(self) -> None:
        assert self._transport is not None
        code = self._transport.get_returncode()
        self._transport.close()
        self._renderer.ended(self, code)
        self._gone.set()


def _frame(content: bytes) -> bytes:
    return len(content).to_bytes(4) + content
