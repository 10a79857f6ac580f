"""Two servers behind the proxy are restarted, one after the other: no client notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.rolling import Clients, Pair, is_ready
from tests.support.service import RestProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_rolling_restart_behind_the_proxy(zoo: Callable[[str], Path]) -> None:
    pair = Pair(zoo("doc_model"), "--drain-delay-ms=300")
    with pair.running(), RestProxy(*(port for port, _ in pair.ports), flags=("--status-interval-ms=100",)) as proxy:

        def takes_calls(index: int) -> bool:
            servers = proxy.http("/status").json()["servers"]
            return is_ready(pair.ports[index][1]) and bool(servers[index]["ready"])

        with Clients(proxy.port) as clients:
            clients.go_on()
            for index in range(2):
                pair.restart(index, takes_calls)
                clients.go_on()
        assert clients.failures == []
