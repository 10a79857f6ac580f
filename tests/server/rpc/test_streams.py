"""The table of streams, with texts that a test gives word by word."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import FinishReason

from server.calls import Pending, drive
from server.clients import Client
from server.errors import ErrorCode, PredictionError, internal
from server.models.requests import NO_SCORES, Generated
from server.rpc.streams import Streams
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from server.rpc.streams import Listener

SECOND_NS = 10**9


class Writer:
    """A text that grows when it is told to."""

    def __init__(self) -> None:
        self.end: Pending[Generated] = Pending(on_abandon=self._abandoned)
        self.say: Listener = lambda *_: None
        self.abandoned = False

    def _abandoned(self) -> None:
        self.abandoned = True

    async def generate(self, on_text: Listener) -> Generated:
        self.say = on_text
        return await self.end


def begun(streams: Streams, seconds: float = 60, clock: Any = time) -> tuple[str, Writer]:
    writer = Writer()
    return streams.begin(writer.generate, clock.monotonic_ns() + int(seconds * SECOND_NS)), writer


async def test_text_is_given_once_and_in_order() -> None:
    streams = Streams(4)
    stream, writer = begun(streams)
    assert (await streams.next(stream, 0)).text == ""
    writer.say("The ", 1, NO_SCORES)
    writer.say("", 2, NO_SCORES)  # held back: it may be the beginning of a stop string
    writer.say("sea", 3, NO_SCORES)
    chunk = await streams.next(stream, 1000)
    assert (chunk.text, chunk.token_count, chunk.finish_reason, chunk.prompt_tokens) == ("The sea", 3, None, None)
    waiting = asyncio.ensure_future(result(streams.next(stream, 60_000)))
    await asyncio.sleep(0)
    assert "another call" in (await error_of(streams.next(stream, 0))).message
    writer.say(" is", 4, NO_SCORES)
    assert (await waiting).text == " is"
    writer.end.resolve(Generated(" green.", 6, FinishReason.LENGTH, 2))
    chunk = await streams.next(stream, 0)
    assert (chunk.text, chunk.token_count, chunk.finish_reason) == (" green.", 6, FinishReason.LENGTH)
    assert chunk.prompt_tokens == 2
    assert len(streams) == 0


async def test_a_call_that_goes_away_takes_no_text_along() -> None:
    streams = Streams(4)
    stream, writer = begun(streams)
    answers: list[Any] = []
    call = drive(streams.next(stream, 60_000), lambda *outcome: answers.append(outcome))
    call.cancel()
    writer.say("still here", 2, NO_SCORES)
    assert (await streams.next(stream, 0)).text == "still here"
    assert not answers
    assert not writer.abandoned


async def test_cancelling_wakes_who_waits() -> None:
    streams = Streams(4)
    stream, writer = begun(streams)
    waiting = asyncio.ensure_future(result(streams.next(stream, 60_000)))
    await asyncio.sleep(0)
    streams.cancel(stream)
    assert (await waiting).finish_reason == FinishReason.CANCELLED
    assert writer.abandoned
    assert (await error_of(streams.next(stream, 0))).code == ErrorCode.NOT_FOUND


async def test_an_error_comes_after_the_text_before_it() -> None:
    streams = Streams(4)
    stream, writer = begun(streams)
    writer.say("The ", 1, NO_SCORES)
    writer.end.fail(internal("broken"))
    assert (await streams.next(stream, 0)).text == "The "
    assert (await error_of(streams.next(stream, 0))).message == "broken"
    assert (await error_of(streams.next(stream, 0))).code == ErrorCode.NOT_FOUND


class Clock:
    """What stands in for the module time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        monkeypatch.setattr("server.rpc.streams.time", self)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / SECOND_NS


async def test_silence_is_counted_from_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, streams = Clock(monkeypatch), Streams(4)
    (asked, kept), (forgotten, left) = begun(streams, 0.05, clock), begun(streams, 0.05, clock)
    clock.now_ns = SECOND_NS * 4 // 100
    await streams.next(asked, 0)
    clock.now_ns = SECOND_NS * 6 // 100
    async with asyncio.timeout(60):
        while not left.abandoned:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not kept.abandoned
    assert (await error_of(streams.next(forgotten, 0))).code == ErrorCode.NOT_FOUND
    clock.now_ns = SECOND_NS * 9 // 100
    async with asyncio.timeout(60):
        while not kept.abandoned:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_refused_text_is_no_stream() -> None:
    async def refuse(_on_text: object) -> Generated:
        raise internal("no")

    streams = Streams(1)
    with pytest.raises(PredictionError, match="no"):
        streams.begin(refuse, time.monotonic_ns() + 60 * SECOND_NS)
    assert len(streams) == 0
    begun(streams)
    with pytest.raises(PredictionError, match="setting streams"):
        begun(streams)


async def test_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, streams = Clock(monkeypatch), Streams(4)
    (read, writer), (_, left) = begun(streams, clock=clock), begun(streams, clock=clock)
    draining = asyncio.ensure_future(streams.drain(0.5))
    await asyncio.sleep(0)
    with pytest.raises(PredictionError, match="draining"):
        begun(streams)
    writer.end.resolve(Generated("all", 1, FinishReason.LENGTH, 2))
    assert (await streams.next(read, 1000)).text == "all"
    assert not left.abandoned
    clock.now_ns += SECOND_NS
    await draining
    assert left.abandoned
    assert len(streams) == 0


def connection(owner: str | None = None) -> Client:
    return Client(owner, is_connected=True)


async def until_abandoned(writer: Writer) -> None:
    async with asyncio.timeout(60):
        while not writer.abandoned:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def begun_by(streams: Streams, client: Client) -> tuple[str, Writer]:
    writer = Writer()
    return streams.begin(writer.generate, time.monotonic_ns() + 60 * SECOND_NS, client=client), writer


async def test_a_stream_ends_soon_after_its_connection() -> None:
    streams, client = Streams(4, orphan_s=0.01), connection()
    stream, writer = begun_by(streams, client)
    client.leave_for_good()
    await until_abandoned(writer)
    assert (await error_of(streams.next(stream, 0))).code == ErrorCode.NOT_FOUND
    assert len(streams) == 0


async def test_a_stream_lives_as_long_as_one_of_the_connections_that_read_it() -> None:
    """A proxy's pool uses any of its connections for a call, and closes those that it does not need."""
    streams, first, second = Streams(4, orphan_s=0.01), connection(), connection()
    stream, writer = begun_by(streams, first)
    await streams.next(stream, 0, second)
    first.leave_for_good()
    await asyncio.sleep(0.05)
    writer.say("still here", 2, NO_SCORES)
    assert (await streams.next(stream, 0, second)).text == "still here"
    second.leave_for_good()
    await until_abandoned(writer)


async def test_another_connection_may_go_on_for_a_while_with_a_stream_that_has_lost_its_own() -> None:
    streams, first, second = Streams(4, orphan_s=60), connection(), connection()
    stream, writer = begun_by(streams, first)
    first.leave_for_good()
    writer.say("still here", 2, NO_SCORES)
    assert (await streams.next(stream, 0, second)).text == "still here"
    second.leave_for_good()
    assert not writer.abandoned
    await streams.drain(0)


async def test_who_has_no_connection_reads_on_without() -> None:
    streams, first = Streams(4, orphan_s=0), connection()
    stream, writer = begun_by(streams, first)
    await streams.next(stream, 0, Client(account="messages"))
    first.leave_for_good()
    await asyncio.sleep(0.02)
    assert not writer.abandoned
    assert (await streams.next(stream, 0)).text == ""


async def test_one_connection_has_a_share_of_the_streams() -> None:
    streams, greedy, other = Streams(4, share=0.5), connection(), connection()
    first, _ = begun_by(streams, greedy)
    begun_by(streams, greedy)
    with pytest.raises(PredictionError, match="setting client_share") as caught:
        begun_by(streams, greedy)
    assert (caught.value.code, caught.value.retry_after_ms) == (ErrorCode.OVERLOADED, 1000)
    begun_by(streams, other)
    streams.cancel(first)
    begun_by(streams, greedy)


async def test_connections_of_one_owner_share_and_so_do_messages_without_one() -> None:
    for clients in ([connection("token"), connection("token")], [Client(account="messages")] * 2):
        streams = Streams(2, share=0.5)
        begun_by(streams, clients[0])
        with pytest.raises(PredictionError, match="setting client_share"):
            begun_by(streams, clients[1])
        begun_by(streams, connection("other"))


async def test_streams_over_http_are_counted_where_they_are_begun() -> None:
    streams = Streams(2, share=0.5)
    begun_by(streams, Client())
    begun_by(streams, Client())
    assert len(streams) == 2
