"""Calls over several servers and connections: sharing, failing over, resting, reconnecting, giving up."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchRequest, ErrorCode, PredictionError

from rest_proxy.backend.contract import Method
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Address, Settings
from tests.rest_proxy.thrift_server import SCORES, ThriftServer, refuse
from tests.support.service import eventually, free_port

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy

NewServer = Callable[..., ThriftServer]


def start(proxy: Proxy, *docs: object, **parameters: Any) -> list[asyncio.Task[Answer]]:
    """One request for each document, all under way at once."""
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    return [asyncio.create_task(proxy.ask("GET", f"/predict?doc={doc}{more}")) for doc in docs]


async def acquire(server: ThriftServer, calls: int = 1) -> None:
    """Wait until that many more calls are held."""
    for _ in range(calls):
        assert await asyncio.to_thread(server.held.acquire, timeout=60), "the call did not come"


async def statuses(proxy: Proxy) -> list[dict[str, Any]]:
    """What the proxy knows of its servers."""
    servers: list[dict[str, Any]] = (await proxy.ask("GET", "/status")).json["servers"]
    return servers


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition)


async def test_two_servers_share_the_load(new_proxy: Any, new_server: NewServer) -> None:
    servers = [new_server(), new_server()]
    for server in servers:
        server.answer = server.hold
    proxy = await new_proxy(*servers)
    asked = start(proxy, *range(8))
    for server in servers:
        await acquire(server, 4)
        assert len(server.named("predict")) == 4
        server.release.set()
    assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 8


async def test_calls_one_after_the_other_reach_both_servers(new_proxy: Any, new_server: NewServer) -> None:
    servers = [new_server(), new_server()]
    proxy = await new_proxy(*servers)
    for _ in range(40):
        await proxy.ask("GET", "/?doc=x")
    assert min(len(server.named("predict")) for server in servers) > 3


async def test_a_server_that_dies_in_a_call_is_replaced_by_another(new_proxy: Any, new_server: NewServer) -> None:
    servers = [new_server(), new_server()]
    for server in servers:
        server.answer = server.hold
    proxy = await new_proxy(*servers)
    [asked] = start(proxy, "x")
    await until(lambda: any(server.named("predict") for server in servers))
    dying, other = sorted(servers, key=lambda server: not server.named("predict"))
    dying.drop_connections()
    dying.stop()
    await acquire(other)
    other.release.set()
    assert (await asked).json == {"scores": {"x": 1.0}}
    answers = await asyncio.gather(*start(proxy, *range(8)))
    assert {answer.status for answer in answers} == {200}, "and the dead one gets no more calls"


async def test_a_connection_that_breaks_is_replaced_by_another_to_the_same_server(
    proxy: Proxy, server: ThriftServer
) -> None:
    def answer(doc: str, options: Any) -> dict[str, float]:
        if len(server.named("predict")) == 1:
            server.drop_connections()
        return SCORES

    server.answer = answer
    assert (await proxy.ask("GET", "/predict?doc=x")).status == 200
    assert len(server.named("predict")) == 2


async def test_connections_that_the_server_closed_while_idle_are_replaced(proxy: Proxy, server: ThriftServer) -> None:
    assert {answer.status for answer in await asyncio.gather(*start(proxy, *range(8)))} == {200}
    server.drop_connections()
    assert {answer.status for answer in await asyncio.gather(*start(proxy, *range(8)))} == {200}


async def test_a_call_that_breaks_its_connection_twice_is_503(proxy: Proxy, server: ThriftServer) -> None:
    def answer(doc: str, options: Any) -> dict[str, float]:
        server.drop_connections()
        return SCORES

    server.answer = answer
    answered = await proxy.ask("GET", "/predict?doc=poison")
    assert (answered.status, answered.json["error"]["code"]) == (503, "UNAVAILABLE")
    assert f"{server.address} gave no answer: " in answered.json["error"]["message"]
    assert len(server.named("predict")) == 2, "tried once more, and not again"


async def test_a_call_that_is_not_idempotent_is_not_sent_twice(new_server: NewServer) -> None:
    servers = [new_server(), new_server()]
    for server in servers:
        server.on_submit = lambda _request, server=server: server.drop_connections()
    pool = ThriftPool(Settings(thrift=tuple(server.address for server in servers)))
    await pool.start()
    submit = Method("submit_batch", idempotent=False)
    with pytest.raises(PredictionError) as raised:
        await pool.call(submit, BatchRequest("predict", None, "in", "out"), timeout_ms=5000)
    assert raised.value.code == ErrorCode.UNAVAILABLE
    assert sum(len(server.named("submit_batch")) for server in servers) == 1
    await pool.close()


async def test_without_any_server_it_is_503_and_says_why(new_proxy: Any, server: ThriftServer) -> None:
    server.stop()
    proxy = await new_proxy(server, Address("127.0.0.1", 1))
    answer = await proxy.ask("GET", "/?doc=x")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.body.startswith(b"no server can be reached (")
    assert f"{server.address}: not reachable: ".encode() in answer.body
    assert b"127.0.0.1:1: not reachable: " in answer.body


async def test_it_comes_back_with_the_server(new_proxy: Any, new_server: NewServer) -> None:
    first = new_server(free_port())
    proxy = await new_proxy(first, status_interval_ms=100)
    assert (await proxy.ask("GET", "/?doc=x")).status == 200
    first.stop()
    assert (await proxy.ask("GET", "/?doc=x")).status == 503
    assert (await proxy.ask("GET", "/readyz")).status == 503
    new_server(first.address.port)
    async with asyncio.timeout(60):
        while not (await statuses(proxy))[0]["ready"]:
            pass
    assert (await proxy.ask("GET", "/?doc=x")).status == 200


async def test_a_server_that_drains_is_skipped_until_it_is_ready(new_proxy: Any, new_server: NewServer) -> None:
    draining, other = new_server(), new_server()
    draining.ready = False
    proxy = await new_proxy(draining, other, status_interval_ms=50)
    assert {answer.status for answer in await asyncio.gather(*start(proxy, *range(10)))} == {200}
    assert (len(draining.named("predict")), len(other.named("predict"))) == (0, 10)
    draining.ready = True
    async with asyncio.timeout(60):
        while not (await statuses(proxy))[0]["ready"]:
            pass
    other.answer = other.hold
    asked = start(proxy, *range(10))
    await until(lambda: len(draining.named("predict")) >= 5)
    other.release.set()
    await asyncio.gather(*asked)


async def test_an_unavailable_server_rests_while_another_answers(new_proxy: Any, new_server: NewServer) -> None:
    resting, other = new_server(), new_server()
    resting.answer = refuse(ErrorCode.UNAVAILABLE, 60_000)
    proxy = await new_proxy(resting, other)
    for _ in range(30):
        assert (await proxy.ask("GET", "/?doc=x")).status == 200
    assert len(resting.named("predict")) == 1
    [status, _] = await statuses(proxy)
    assert (status["reachable"], status["ready"]) == (True, False)


async def test_when_all_refuse_the_answer_is_the_servers_own(new_proxy: Any, new_server: NewServer) -> None:
    servers = [new_server(), new_server()]
    for server in servers:
        server.answer = refuse(ErrorCode.UNAVAILABLE, 1500)
    proxy = await new_proxy(*servers)
    answer = await proxy.ask("GET", "/predict?doc=x")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert answer.json["error"]["message"] == "refused with UNAVAILABLE"
    assert [len(server.named("predict")) for server in servers] == [1, 1]


async def test_a_single_server_that_refuses_is_asked_once(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = refuse(ErrorCode.UNAVAILABLE, 60_000)
    assert (await proxy.ask("GET", "/?doc=x")).status == 503
    server.answer = lambda _doc, _options: SCORES
    assert (await proxy.ask("GET", "/?doc=x")).status == 200, "it rests only where there is another"
    assert len(server.named("predict")) == 2


async def test_a_server_that_is_late_is_504(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, grace_ms=50)
    server.answer = server.hold
    started = time.monotonic()
    [asked] = start(proxy, "x", timeout_ms=100)
    answer = await asked
    assert time.monotonic() - started > 0.14
    assert (answer.status, answer.json["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    message = f"no answer from {server.address} in 100 ms and 50 ms grace"
    assert answer.json["error"]["message"] == message
    await acquire(server)
    assert len(server.named("predict")) == 1, "a call that is late is not tried again"


async def test_a_client_that_goes_away_frees_its_place_in_the_server(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = server.hold
    [asked] = start(proxy, "x")
    await acquire(server)
    asked.cancel()
    _monitor, connection = server.connections
    assert await asyncio.to_thread(connection.recv, 1) == b"", "its connection is closed while the call is held"
    server.release.set()
    server.answer = lambda _doc, _options: SCORES
    assert (await proxy.ask("GET", "/?doc=x")).status == 200
    metrics = (await proxy.ask("GET", "/metrics")).body
    assert b'predictor_rest_requests_total{route="/predict",status="499"} 1.0' in metrics
    assert f'predictor_rest_server_calls{{server="{server.address}"}} 0.0'.encode() in metrics


async def test_full_connections_are_429(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, connections=2, calls_per_connection=2)
    server.answer = server.hold
    asked = start(proxy, *range(4))
    await acquire(server, 2)
    answer = await proxy.ask("GET", "/predict?doc=x")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert "(settings connections = 2, calls_per_connection = 2)" in answer.json["error"]["message"]
    server.release.set()
    assert [answer.json["scores"] for answer in await asyncio.gather(*asked)] == [{str(n): 1.0} for n in range(4)]


async def test_a_slow_call_holds_nobody_up(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = lambda doc, options: server.hold(doc, options) if doc == "slow" else SCORES
    [slow] = start(proxy, "slow")
    await acquire(server)
    assert {answer.status for answer in await asyncio.gather(*start(proxy, *range(20)))} == {200}
    assert not slow.done()
    server.release.set()
    assert (await slow).json == {"scores": {"slow": 1.0}}


async def test_connections_are_used_again(proxy: Proxy, server: ThriftServer) -> None:
    for _ in range(20):
        await proxy.ask("GET", "/?doc=x")
    assert len(server.connections) == 2, "the monitor's, and one for calls that come one after the other"


async def test_connections_of_many_calls_that_share_none_are_closed_afterwards(server: ThriftServer) -> None:
    """But not those that may be open anyway."""
    pool = ThriftPool(Settings(thrift=(server.address,), connections=3, status_interval_ms=50))
    await pool.start()
    [upstream] = pool.upstreams
    predict = Method("predict")
    server.answer = server.hold
    try:
        calls = [asyncio.ensure_future(pool.call(predict, "x", None, timeout_ms=9000, alone=True)) for _ in range(20)]
        await acquire(server, 20)
        assert upstream.connections == 20
        server.release.set()
        assert await asyncio.gather(*calls) == [{"x": 1.0}] * 20
        await until(lambda: upstream.connections == 3)
        assert await pool.call(predict, "y", None, timeout_ms=9000) == {"y": 1.0}
        await asyncio.sleep(0.3)
        assert upstream.connections == 3
    finally:
        await pool.close()


@pytest.mark.parametrize("alone", [True, False])
async def test_what_cannot_be_sent_costs_no_connection(server: ThriftServer, alone: bool) -> None:
    pool = ThriftPool(Settings(thrift=(server.address,), connections=3))
    await pool.start()
    try:
        for _ in range(50):
            with pytest.raises(UnicodeEncodeError):
                await pool.call(Method("predict"), "\ud800", None, timeout_ms=9000, alone=alone)
        assert pool.upstreams[0].connections == 1
        assert await pool.call(Method("predict"), "x", None, timeout_ms=9000) == SCORES
        assert pool.upstreams[0].connections == 1
    finally:
        await pool.close()


async def test_500_requests_at_once_share_32_connections(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = lambda doc, _options: {doc: 1.0}
    answers = await asyncio.gather(*start(proxy, *range(500)))
    assert [answer.json["scores"] for answer in answers] == [{str(number): 1.0} for number in range(500)]
    assert len(server.connections) <= 33


async def test_a_server_that_accepts_and_says_nothing_is_not_ready(new_proxy: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        proxy = await new_proxy(Address("127.0.0.1", port), connect_timeout_ms=50)
        answer = await proxy.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json["reasons"] == [f"127.0.0.1:{port}: no answer to status in 2.05 s"]
