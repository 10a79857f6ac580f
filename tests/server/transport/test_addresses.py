"""How much one address may take of the Thrift port."""

from __future__ import annotations

from server.transport.limits import Limits
from tests.server.transport.service import Peer, message, running, until


def test_connections_of_one_address() -> None:
    with running(Limits(connections_per_address=2)) as server:
        peers = [Peer(server.port) for _ in range(2)]
        until(lambda: server.server.connections == 2)
        for _ in range(3):
            with Peer(server.port) as refused:
                assert refused.is_closed()
        assert server.server.counters.refused_connections == 3
        peers.pop().socket.close()
        until(lambda: server.server.connections == 1)
        server.answers()
        peers[0].socket.close()


def test_a_connection_from_which_nothing_comes() -> None:
    with running(Limits(first_byte_s=0.1)) as server:
        with Peer(server.port) as used, Peer(server.port) as silent:
            used.send(message("predict", "a"))
            used.answer(framed=False)
            assert silent.is_closed()
            used.send(message("predict", "a"))
            used.answer(framed=False)
        assert server.server.counters.closed_idle == 1
