"""Order, limits, silence and loss of connections."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from predictor import Predictor
from predictor.ttypes import ErrorCode, PredictionError
from structlog.testing import capture_logs
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from server.errors import internal, too_large
from server.transport.codecs import STRICT
from server.transport.endpoint import Endpoint
from server.transport.limits import Limits
from server.transport.methods import method_table
from server.transport.server import ThriftServer
from tests.server.transport.service import (
    Handler,
    Peer,
    RecordingLog,
    RunningServer,
    envelope,
    frame,
    message,
    read_answer,
    refused,
    running,
    stands_still,
    until,
)
from tests.server.transport.thrift_clients import BY_NAME, HOST, client

if TYPE_CHECKING:
    from collections.abc import Callable

each_framing = pytest.mark.parametrize("wrap", [frame, bytes], ids=["framed", "unframed"])


def predict(doc: str, seqid: int, wrap: Callable[[bytes], bytes] = frame) -> bytes:
    return wrap(message("predict", doc, seqid=seqid))


# ----------------------------------------------------------------------------------------------------------- pipelining


@each_framing
def test_calls_run_together_and_answers_keep_their_order(
    thrift_server: RunningServer, wrap: Callable[[bytes], bytes]
) -> None:
    with Peer(thrift_server.port) as peer:
        docs = ["wait:first", "quick", "wait:third", "future:0.01", "error:"]
        peer.send(b"".join(predict(doc, seqid, wrap) for seqid, doc in enumerate(docs)))
        until(lambda: {"first", "third"} <= thrift_server.handler.waiting.keys())  # both have begun
        peer.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.receive(1)  # nothing overtakes the first answer
        peer.socket.settimeout(10)
        thrift_server.release("third")
        thrift_server.release("first")
        answers = [peer.answer(framed=wrap is frame) for _ in docs]
    assert answers[:4] == [(seqid, {docs[seqid]: float(len(docs[seqid]))}) for seqid in range(4)]
    assert answers[4][0] == 4
    refused(answers[4][1], ErrorCode.OVERLOADED, "queue is full")


@each_framing
def test_ten_thousand_pipelined_calls(thrift_server: RunningServer, wrap: Callable[[bytes], bytes]) -> None:
    calls = thrift_server.server.counters.calls
    with Peer(thrift_server.port) as peer:
        peer.send(b"".join(predict(f"doc {seqid}", seqid, wrap) for seqid in range(10_000)))
        for seqid in range(10_000):
            assert peer.answer(framed=wrap is frame) == (seqid, {f"doc {seqid}": float(len(f"doc {seqid}"))})
    assert thrift_server.server.counters.calls == calls + 10_000


@each_framing
def test_at_most_so_many_calls_of_a_connection_at_once(wrap: Callable[[bytes], bytes]) -> None:
    with running(Limits(pipelined_calls=3)) as server, Peer(server.port) as peer:
        for seqid in range(8):
            peer.send(predict(f"wait:{seqid}", seqid, wrap))
        until(lambda: len(server.handler.waiting) == 3)
        time.sleep(0.05)
        assert sorted(server.handler.waiting) == ["0", "1", "2"]
        server.release("1")
        until(lambda: "1" not in server.handler.waiting)
        time.sleep(0.05)
        assert sorted(server.handler.waiting) == ["0", "2"], "an answer that waits for its turn counts"
        server.release("0")
        until(lambda: sorted(server.handler.waiting) == ["2", "3", "4"])
        server.answers()  # other connections are served
        for seqid in range(2, 8):
            server.release(str(seqid))
        for seqid in range(8):
            assert peer.answer(framed=wrap is frame) == (seqid, {f"wait:{seqid}": 6.0})


def test_a_peer_that_does_not_read_is_not_read_either() -> None:
    """Its calls stop; little is kept for it; when it reads, all of its answers come."""
    with running() as server, Peer(server.port) as peer:
        calls = 5000
        sent = frame(message("embed", "x" * 2000)) * calls  # the answers are eight times as long
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(peer.send, sent)
            until(lambda: server.server.counters.calls > 100)
            until(lambda: stands_still(lambda: server.server.counters.calls))
            assert server.server.counters.calls < calls / 2
            (connection,) = server.server._endpoint.connections
            assert connection._transport.get_write_buffer_size() < 64 * 2 * 16_000
            server.answers()
            for _ in range(calls):
                assert len(peer.receive_frame()) > 16_000
            sending.result(10)


def test_answers_that_get_ready_together_are_written_together() -> None:
    with running() as server, Peer(server.port) as peer:
        names = [str(number) for number in range(20)]
        peer.send(b"".join(predict(f"wait:{name}", 1) for name in names))
        until(lambda: len(server.handler.waiting) == 20)
        writes: list[int] = []

        async def release_all() -> None:
            (connection,) = server.server._endpoint.connections
            connection._transport = _WriteSpy(connection._transport, writes)
            for name in names:
                server.handler.waiting.pop(name).resolve(None)

        server.run(release_all())
        for _ in names:
            peer.answer(framed=True)
        assert len(writes) == 1


class _WriteSpy:
    """A transport that notes how much is written at a time."""

    def __init__(self, transport: asyncio.Transport, writes: list[int]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(len(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


# ----------------------------------------------------------------------------------------------------------------- loss


def reset(peer: Peer) -> None:
    """Close so that the other side gets a reset."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


@pytest.mark.parametrize("lose", [reset, lambda peer: peer.socket.close()], ids=["reset", "closed"])
def test_a_lost_connection_cancels_its_calls(lose: Callable[[Peer], None]) -> None:
    with running() as server:
        peer = Peer(server.port)
        peer.send(b"".join(predict(f"wait:{name}", 1) for name in "abc"))
        until(lambda: len(server.handler.waiting) == 3)
        assert server.server.connections == 1
        lose(peer)
        until(lambda: server.server.counters.abandoned_calls == 3)
        until(lambda: server.server.connections == 0)
        assert sorted(server.handler.abandoned) == ["a", "b", "c"]
        server.release("a")  # comes too late, and does no harm
        server.answers()
        assert not server.log.find("error", "")


@pytest.mark.parametrize("lose", [reset, lambda peer: peer.socket.close()], ids=["reset", "closed"])
def test_a_lost_connection_that_is_not_read_cancels_its_calls(lose: Callable[[Peer], None]) -> None:
    with running(Limits(pipelined_calls=2, message_s=0.4)) as server:
        peer = Peer(server.port)
        peer.send(b"".join(predict(f"wait:{name}", 1) for name in "abc"))
        until(lambda: len(server.handler.waiting) == 2)
        lose(peer)
        until(lambda: server.handler.abandoned == ["a", "b"])
        until(lambda: server.server.connections == 0)


class Failing:
    """A connection that has a fault."""

    def __init__(self, has_fault: bool) -> None:
        self.has_fault = has_fault
        self.done: list[str] = []

    def flush(self) -> None:
        if self.has_fault:
            raise OverflowError("as of a length of 2^64")
        self.done.append("flushed")

    def abort(self) -> None:
        self.done.append("aborted")

    def peer(self) -> str:
        return "127.0.0.1:1"


async def test_a_connection_s_fault_does_not_keep_the_others_answers() -> None:
    with capture_logs() as entries:
        endpoint = Endpoint({}, Limits(), structlog.get_logger())
        connections: list[Any] = [Failing(False), Failing(True), Failing(False)]
        for connection in connections:
            endpoint.flush_soon(connection)
        await asyncio.sleep(0)
    assert [connection.done for connection in connections] == [["flushed"], ["aborted"], ["flushed"]]
    assert [entry["event"] for entry in entries] == ["connection failed"]


def test_a_call_that_fails_while_it_is_cancelled_does_not_keep_the_others() -> None:
    with running() as server:
        with Peer(server.port) as peer:
            peer.send(predict("stubborn:", 1) + predict("wait:next", 2))
            until(lambda: "next" in server.handler.waiting)
        until(lambda: server.handler.abandoned == ["next"])
        (line,) = server.log.find("error", "call failed while it was cancelled")
        assert str(line["exc_info"]) == "would not be cancelled"
        server.answers()


# ------------------------------------------------------------------------------------------------------------- failures


def test_a_fault_of_the_handler_is_answered_with_an_id_that_the_log_knows(thrift_server: RunningServer) -> None:
    with Peer(thrift_server.port) as peer:
        ids = set()
        for doc, detail in (("raise:", "a secret detail"), ("nothing:", "returned None"), ("nonsense:", "")):
            peer.send(predict(doc, 1))
            error = peer.answer(framed=True)[1]
            refused(error, ErrorCode.INTERNAL, error.request_id)
            assert "secret" not in error.message
            (line,) = [
                line
                for line in thrift_server.log.find("error", "call failed")
                if line["request_id"] == error.request_id
            ]
            assert line["method"] == "predict"
            assert detail in str(line["exc_info"])
            assert line["frames"] > 0
            ids.add(error.request_id)
        assert len(ids) == 3
        peer.send(predict("cancel:", 2))
        refused(peer.answer(framed=True)[1], ErrorCode.CANCELLED)
        peer.send(predict("next", 3))
        assert peer.answer(framed=True) == (3, {"next": 4.0})


def test_a_handler_must_have_every_method() -> None:
    class Half(Handler):
        embed = None  # type: ignore[assignment]

        def status(self) -> None:  # type: ignore[override]
            """No coroutine."""

        async def get_batch(self) -> None:  # type: ignore[override]
            """An argument too few."""

    lacking = re.escape("embed(self, text, options, embed_options), get_batch(self, id), status(self)")
    with pytest.raises(TypeError, match=f"Half has no coroutine method {lacking}"):
        ThriftServer(Half(), Limits(), RecordingLog())


def test_a_method_that_declares_no_error_answers_with_an_application_exception() -> None:
    """As one that a contract older than PredictionError would have."""
    methods = method_table(Predictor, Handler(), Limits())
    method = methods[b"predict"]
    method._failure = None

    for error, kind in (
        (too_large("too much"), TApplicationException.PROTOCOL_ERROR),
        (internal("ours", "id"), TApplicationException.INTERNAL_ERROR),
    ):
        answer = read_answer(TBinaryProtocol(TMemoryBuffer(method.error(STRICT, b"\0\0\0\7", error))))
        assert answer[0] == 7
        assert (answer[1].type, answer[1].message) == (kind, error.message)


# ------------------------------------------------------------------------------------------------------ limits, silence


def test_connections_over_the_limit_are_told_so() -> None:
    """Each gets OVERLOADED for its first call, in its own dialect, and is closed."""
    with running(Limits(connections=3)) as server:
        peers = [Peer(server.port) for _ in range(3)]
        until(lambda: server.server.connections == 3)
        for name in (
            "framed-binary",
            "unframed-compact",
            "unframed-json",
            "header-compact-zlib",
            "unframed-binary-old",
        ):
            with client(server.port, BY_NAME[name]) as one_too_many:
                with pytest.raises(PredictionError) as caught:
                    one_too_many.predict("a", None)
                error = caught.value
                assert (error.code, error.setting, error.retry_after_ms) == (ErrorCode.OVERLOADED, "connections", 1000)
                assert error.message == "3 connections are open (setting connections)"
                with pytest.raises((TTransportException, EOFError, OSError)):
                    one_too_many.predict("a", None)
        assert server.server.counters.refused_connections == 5
        assert server.server.counters.accepted_connections == 3
        assert len(server.log.find("warning", "connection refused: 3 are open (setting connections)")) == 1
        peers[0].send(predict("still served", 1))
        assert peers[0].answer(framed=True) == (1, {"still served": 12.0})
        peers[0].socket.close()
        until(lambda: server.server.connections == 2)
        server.answers()
        for peer in peers:
            peer.socket.close()


def test_delays_of_the_network_stack_are_off() -> None:
    with running() as server, Peer(server.port) as peer:
        peer.send(predict("a", 1))
        peer.answer(framed=True)
        (connection,) = server.server._endpoint.connections
        connection_socket = connection._transport.get_extra_info("socket")
        assert connection_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_silence_ends_a_connection() -> None:
    """By a clock that only the test moves."""
    with running(Limits(idle_s=100)) as server:

        async def begin() -> float:
            server.server._sweeper.cancel()
            return asyncio.get_running_loop().time()

        async def sweep(seconds: float) -> None:
            for connection in tuple(server.server._endpoint.connections):
                connection.sweep(begun + seconds)

        with Peer(server.port) as silent, Peer(server.port) as active, Peer(server.port) as waiting:
            waiting.send(predict("wait:long", 1))
            until(lambda: "long" in server.handler.waiting)
            until(lambda: server.server.connections == 3)
            begun = server.run(begin())
            for seconds in (0, 60, 110):
                active.send(predict("a", 1))
                assert active.answer(framed=True) == (1, {"a": 1.0})
                server.run(sweep(seconds))
            assert silent.is_closed()
            server.release("long")  # a call in progress is no silence, however long it takes
            assert waiting.answer(framed=True) == (1, {"wait:long": 9.0})
            server.run(sweep(120))
            server.run(sweep(200))
            assert server.server.counters.closed_idle == 1
            server.run(sweep(220))
            assert waiting.is_closed()
            assert active.is_closed()
        assert server.server.counters.closed_idle == 3
        server.answers()


HALF_SENT = {
    "frame": frame(message("predict", "half"))[:-5],
    "unframed": message("predict", "half")[:-5],
    "unframed envelope": envelope("predict")[:9],
    "length of a frame": b"\0\0",
    "first byte": b"\x80",
    "oversized frame": (1 << 26).to_bytes(4, "big") + envelope("predict") + b"\x0b\0\1",
}


@pytest.mark.parametrize("name", HALF_SENT)
def test_the_rest_of_a_message_must_come_in_time(name: str) -> None:
    """Even if single bytes go on coming."""
    with running(Limits(message_s=0.3)) as server, Peer(server.port) as peer:
        start = time.monotonic()
        peer.send(HALF_SENT[name])
        if name == "oversized frame":
            refused(peer.answer(framed=True)[1], ErrorCode.TOO_LARGE, "message_bytes")
        assert peer.is_closed()
        assert time.monotonic() - start > 0.2
        assert len(server.log.find("warning", "did not come in 0.3 s (setting message_s)")) == 1
        assert server.server.counters.closed_idle == 1
        server.answers()


def sends(peer: Peer, pieces: list[bytes], pause_s: float = 0) -> bool:
    """Whether all the pieces can be sent; they cannot when the server closes meanwhile."""
    try:
        for piece in pieces:
            peer.send(piece)
            time.sleep(pause_s)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def test_a_message_that_drips_is_cut_off_too() -> None:
    """It would take twenty seconds."""
    with running(Limits(message_s=0.3)) as server, Peer(server.port) as peer:
        whole = message("predict", "x" * 10_000)
        assert not sends(peer, [bytes([byte]) for byte in whole], pause_s=0.002)
        server.answers()


def test_a_half_sent_message_behind_a_long_call() -> None:
    """The long call is no excuse for the message behind it."""
    with running(Limits(message_s=0.3)) as server, Peer(server.port) as peer:
        peer.send(predict("wait:long", 1) + predict("half", 2)[:-3])
        assert peer.is_closed()
        until(lambda: server.handler.abandoned == ["long"])


def test_a_refused_peer_that_never_stops_sending_is_cut_off() -> None:
    with running(Limits(message_bytes=1000, string_bytes=1000, discard_bytes=100_000)) as server:
        with Peer(server.port) as peer:
            peer.send(envelope("predict") + b"\x0b\0\1" + (5000).to_bytes(4, "big"))
            assert not sends(peer, [bytes(10_000)] * 10_000)
        server.answers()


def test_port_zero_is_a_free_port_and_a_taken_one_is_an_error() -> None:
    with running() as server:
        assert server.port > 0
        second = ThriftServer(Handler(), Limits(), RecordingLog())
        with pytest.raises(OSError, match="in use"):
            server.run(second.start(HOST, server.port))


def test_many_clients_at_once(thrift_server: RunningServer) -> None:
    def ask(number: int) -> bool:
        with client(thrift_server.port) as it:
            return all(
                it.predict(f"{number} {i}", None) == {f"{number} {i}": float(len(f"{number} {i}"))} for i in range(50)
            )

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(64)))
