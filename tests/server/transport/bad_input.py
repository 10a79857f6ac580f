"""What the tests of bad input share."""

from __future__ import annotations

from typing import Any

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol

from tests.server.transport.service import (
    PROTOCOLS,
    Peer,
    RunningServer,
    frame,
    message,
)

STRING = b"\x0b\0\1"
"""Head of field 1, a string, in binary."""

each_framing = pytest.mark.parametrize("framed", [True, False], ids=["framed", "unframed"])
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=["binary", "compact"])


def size(count: int) -> bytes:
    return count.to_bytes(4, "big", signed=True)


def ask(server: RunningServer, data: bytes, *, framed: bool, protocol: Any = TBinaryProtocol) -> Any:
    """Send a message; its answer. A framed connection must survive it."""
    with Peer(server.port) as peer:
        peer.send(frame(data) if framed else data)
        seqid, answer = peer.answer(framed=framed, protocol=protocol)
        assert seqid == 1
        if framed:
            peer.send(frame(message("predict", "next", seqid=2, protocol=protocol)))
            assert peer.answer(framed=True, protocol=protocol) == (2, {"next": 4.0})
        return answer
