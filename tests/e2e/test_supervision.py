"""Processes that die: the REST proxy, the server, one of two servers behind a proxy."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.support.service import RestProxy, Service, eventually, is_listening, is_running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_proxy_that_dies_is_started_again_on_its_port(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--http=proxy") as service, service.client() as predictor:
        for _ in range(2):
            (proxy,) = service.children()
            os.kill(proxy, signal.SIGKILL)
            eventually(lambda gone=proxy: service.children() and gone not in service.children(), "another is started")
            eventually(lambda: is_listening(service.rest_port), "it listens")
            assert service.http("/?doc=set+an+alarm").status == 200
            assert predictor.predict("set an alarm", None), "the same Thrift connection as before"
        deaths = [entry for entry in service.log if entry.get("event") == "the REST proxy died and is started again"]
    assert [entry["exit_code"] for entry in deaths] == [-signal.SIGKILL] * 2


def test_the_proxy_ends_with_a_server_that_is_killed(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--http=proxy") as service:
        (proxy,) = service.children()
        service.signal(signal.SIGKILL)
        assert service.wait() == -signal.SIGKILL
        eventually(lambda: not is_running(proxy), "the proxy has ended by itself")
        assert not is_listening(service.rest_port)


def test_one_proxy_in_front_of_two_servers(zoo: Callable[[str], Path]) -> None:
    """Requests go to both; when one is killed in the middle of them, none of them fails."""
    with (
        Service(zoo("slow_20ms"), "--no-rest", "--warm-up-tokens=0", "--equal-lengths=never") as staying,
        Service(zoo("slow_20ms"), "--no-rest", "--warm-up-tokens=0", "--equal-lengths=never") as leaving,
        RestProxy(staying.port, leaving.port) as proxy,
    ):

        def ask(number: int) -> int:
            if number == 100:
                leaving.signal(signal.SIGKILL)
            return proxy.http(f"/predict?doc=set+alarm+{number}").status

        assert proxy.http("/readyz").status == 200
        with ThreadPoolExecutor(8) as pool:
            first = list(pool.map(ask, range(50)))
            shares = [server.model_status().completed for server in (staying, leaving)]
            then = list(pool.map(ask, range(50, 200)))

        assert first + then == [200] * 200
        assert sum(shares) == 50
        assert min(shares) >= 5
        assert leaving.wait() == -signal.SIGKILL
        assert proxy.http("/readyz").status == 200
        by_address = {server["address"]: server for server in proxy.http("/status").json()["servers"]}
        assert by_address[f"127.0.0.1:{staying.port}"]["ready"] is True
        assert by_address[f"127.0.0.1:{leaving.port}"]["reachable"] is False


def test_a_server_that_comes_back_is_used_again(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--no-rest") as first:
        port = first.port
        with RestProxy(port) as proxy:
            assert proxy.http("/?doc=hello").status == 200
            first.stop()
            eventually(lambda: proxy.http("/readyz").status == 503, "the proxy sees that it is gone")
            answer = proxy.http("/predict?doc=hello")
            assert (answer.status, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
            with Service(zoo("doc_model"), "--no-rest", f"--port={port}"):
                eventually(lambda: proxy.http("/readyz").status == 200, "the proxy sees that it is back")
                assert proxy.http("/?doc=hello").status == 200
