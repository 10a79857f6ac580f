"""Streamed texts: what generate_begin, generate_next and generate_cancel speak of."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from predictor.ttypes import FinishReason, GenerationChunk

from process.options import WAIT_MS
from server.calls import Pending, drive
from server.errors import invalid_argument, not_found, overloaded, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Sequence

    from predictor.ttypes import TokenLogprob, ToolCall

    from server.calls import Call
    from server.clients import Client
    from server.models.requests import ChatAnswer, Generated, Scores

    Listener = Callable[..., object]
    """_Stream.on_text."""
    Ended = Generated | ChatAnswer

_RETRY_MS = 1000
_SHOWN = 128
_EARLY_S = 0.01  # by so much the loop's timers may be early


class _Stream:
    """One text: what has come of it and was not read yet, and who waits for more."""

    __slots__ = (
        *("_call", "_error", "_finish_reason", "_parts", "_prompt", "_prompt_tokens", "_tokens", "_tool_calls"),
        *("_prompt_scores", "_scores"),
        *("account", "clients", "deserted_ns", "last_read_ns", "timeout_ns", "waiter"),
    )

    def __init__(self, timeout_ns: int, prompt: str | None = None) -> None:
        """`prompt`: what the first chunk says of it."""
        self._parts: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._prompt = prompt
        self._scores: list[TokenLogprob] = []
        self._prompt_scores: list[TokenLogprob] | None = None
        self._tokens = 0
        self._prompt_tokens: int | None = None
        self._finish_reason: int | None = None
        self._error: BaseException | None = None
        self._call: Call | None = None
        self.waiter: Pending[None] | None = None
        self.timeout_ns = timeout_ns
        self.last_read_ns = time.monotonic_ns()
        self.account: Hashable = None
        self.deserted_ns = 0
        self.clients: set[Client] | None = None
        """The connections that it was begun and read by, as far as they are open; None: it needs none."""

    def start(self, text: Coroutine[Any, Any, Ended]) -> None:
        """Run `text`, up to its first wait. Raises what it raises up to there."""
        call = drive(text, self._end)
        if self._error is not None:
            raise self._error
        if self._finish_reason is None:
            self._call = call

    @property
    def ended(self) -> bool:
        """Whether no more text comes."""
        return self._finish_reason is not None or self._error is not None

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return self._has_parts or self.ended

    @property
    def _has_parts(self) -> bool:
        return bool(self._parts or self._tool_calls or self._scores)

    def take(self) -> GenerationChunk:
        """What has come since the last time. Raises the error that ended the text, when all before it was taken."""
        if self._error is not None and not self._has_parts:
            raise self._error
        chunk = GenerationChunk(
            *("".join(self._parts), self._tokens, self._finish_reason, self._prompt_tokens),
            *(self._scores or None, self._prompt_scores, self._prompt),
        )
        self._parts.clear()
        if self._tool_calls:
            chunk.tool_calls, self._tool_calls = self._tool_calls, []
        self._scores = []
        self._prompt_scores = self._prompt = None
        return chunk

    def cancel(self) -> None:
        """Stop the work; it leaves its slot before the next step."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        if not self.ended:
            self._finish_reason = FinishReason.CANCELLED
        self._wake()

    def on_text(self, text: str, tokens: int, scores: Scores, tool_calls: Sequence[ToolCall] = ()) -> None:
        """The text has grown."""
        self._tokens = tokens
        self._take_scores(scores)
        self._tool_calls += tool_calls
        if text:
            self._parts.append(text)
        if text or scores.generated or tool_calls:
            self._wake()

    def _take_scores(self, scores: Scores) -> None:
        if scores.generated:
            self._scores += scores.generated
        if scores.prompt is not None:
            self._prompt_scores = scores.prompt

    def _end(self, done: Ended | None, error: BaseException | None) -> None:
        self._call = None
        self._error = error
        if done is not None:
            self._finish_reason = done.finish_reason
            self._tokens = done.token_count
            self._prompt_tokens = done.prompt_tokens
            self._take_scores(done.scores)
            if done.text:
                self._parts.append(done.text)
            self._tool_calls += getattr(done, "tool_calls", ())
        self._wake()

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.resolve(None)


class Streams:
    """The streams of a server, at most `max_streams`, and of one account that `share` of them at most.

    One ends that nobody reads, and `orphan_s` after all connections are closed that it was begun and read by: a proxy
    may use another connection for each call. Belongs to the event loop.
    """

    def __init__(self, max_streams: int, share: float = 1.0, orphan_s: float = 0.0) -> None:
        self._max_streams = max_streams
        self._most_of_one = max(1, int(max_streams * share))
        self._orphan_s = orphan_s
        self._streams: dict[str, _Stream] = {}
        self._of_account: dict[Hashable, int] = {}
        self._of_client: dict[Client, set[str]] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._streams)

    def begin(
        self,
        generate: Callable[[Listener], Coroutine[Any, Any, Ended]],
        deadline_ns: int,
        prompt: str | None = None,
        client: Client | None = None,
    ) -> str:
        """The id of a new stream of what `generate(on_text)` gives. The first chunk has `prompt`.

        It is cancelled when nobody reads it for as long as `deadline_ns` is from now. Raises PredictionError.
        """
        if self._draining:
            raise unavailable("the server is draining", _RETRY_MS)
        if len(self._streams) >= self._max_streams:
            raise overloaded(f"there are {self._max_streams} streams", _RETRY_MS, setting="streams")
        account = client.account if client is not None else None
        if account is not None and self._of_account.get(account, 0) >= self._most_of_one:
            raise overloaded(f"you have {self._most_of_one} streams", _RETRY_MS, setting="client_share")
        stream = _Stream(max(0, deadline_ns - time.monotonic_ns()), prompt)
        stream.start(generate(stream.on_text))
        stream_id = secrets.token_urlsafe(16)
        self._streams[stream_id] = stream
        if account is not None:
            stream.account = account
            self._of_account[account] = self._of_account.get(account, 0) + 1
        if client is not None and client.is_connected:
            stream.clients = set()
            self._use(stream_id, stream, client)
        self._watch(stream_id, stream.timeout_ns)
        return stream_id

    async def next(self, stream_id: str, wait_ms: int, client: Client | None = None) -> GenerationChunk:
        """What the text has grown by; waits for it up to `wait_ms`. Raises PredictionError."""
        stream = self._stream(stream_id)
        if wrong := WAIT_MS.wrong(wait_ms):
            raise invalid_argument(wrong, field=WAIT_MS.name)
        if stream.waiter is not None:
            raise invalid_argument("another call waits for this stream", field="stream_id")
        if client is not None and stream.clients is not None and client not in stream.clients:
            self._use(stream_id, stream, client)
        stream.last_read_ns = time.monotonic_ns()
        if wait_ms and not stream.has_news:
            await self._news(stream, wait_ms)
            stream.last_read_ns = time.monotonic_ns()
        try:
            chunk = stream.take()
        except BaseException:
            self._forget(stream_id)
            raise
        if chunk.finish_reason is not None:
            self._forget(stream_id)
        return chunk

    def cancel(self, stream_id: str) -> None:
        """Stop a stream and forget it. Raises NOT_FOUND."""
        stream = self._stream(stream_id)
        self._forget(stream_id)
        stream.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Begin none any more; wait until those there are have been read to their end, then cancel the rest."""
        self._draining = True
        end = time.monotonic() + timeout_s
        while self._streams and time.monotonic() < end:  # noqa: ASYNC110 - once, at the end of the server's life
            await asyncio.sleep(0.01)
        for stream_id in tuple(self._streams):
            self.cancel(stream_id)

    def _stream(self, stream_id: str) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise not_found(f"no stream has the id {stream_id[:_SHOWN]!r}", field="stream_id")
        return stream

    def _forget(self, stream_id: str) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if stream.account is not None:
            left = self._of_account[stream.account] - 1
            if left:
                self._of_account[stream.account] = left
            else:
                del self._of_account[stream.account]
        for client in stream.clients or ():
            self._of_client[client].discard(stream_id)

    def _use(self, stream_id: str, stream: _Stream, client: Client) -> None:
        """The stream is begun or read by this client."""
        assert stream.clients is not None
        if not client.is_connected:
            for used in stream.clients:
                self._of_client[used].discard(stream_id)
            stream.clients = None
            return
        stream.clients.add(client)
        client.on_gone = self._gone
        self._of_client.setdefault(client, set()).add(stream_id)

    def _gone(self, client: Client) -> None:
        """A connection is closed. Its streams end soon, but those that others read."""
        for stream_id in self._of_client.pop(client, ()):
            stream = self._streams[stream_id]
            assert stream.clients is not None
            stream.clients.discard(client)
            if not stream.clients:
                stream.deserted_ns = time.monotonic_ns()
                asyncio.get_running_loop().call_later(self._orphan_s, self._end_orphan, stream_id)

    def _end_orphan(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.clients is None or stream.clients:
            return
        if time.monotonic_ns() - stream.deserted_ns >= (self._orphan_s - _EARLY_S) * 1e9:  # else another look follows
            self.cancel(stream_id)

    async def _news(self, stream: _Stream, wait_ms: int) -> None:
        """Return when the stream has something to tell, or the time is over."""
        waiter: Pending[None] = Pending()
        stream.waiter = waiter
        timer = asyncio.get_running_loop().call_later(wait_ms / 1000, stream._wake)
        try:
            await waiter
        finally:
            timer.cancel()
            stream.waiter = None

    def _watch(self, stream_id: str, wait_ns: int) -> None:
        asyncio.get_running_loop().call_later(wait_ns / 1e9, self._look, stream_id)

    def _look(self, stream_id: str) -> None:
        """Cancel the stream if nobody has read it for too long; else look again when that may be so."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        silent_ns = 0 if stream.waiter is not None else time.monotonic_ns() - stream.last_read_ns
        if silent_ns >= stream.timeout_ns:
            self.cancel(stream_id)
        else:
            self._watch(stream_id, max(1_000_000, stream.timeout_ns - silent_ns))
