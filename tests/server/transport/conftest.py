from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.transport.service import RunningServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def thrift_server() -> Iterator[RunningServer]:
    """A server with default limits, for all tests of a module."""
    with running() as server:
        yield server


@pytest.fixture
def server(thrift_server: RunningServer) -> Iterator[RunningServer]:
    """A server that must still answer when the test is over."""
    bad = thrift_server.server.counters.bad_messages
    yield thrift_server
    assert thrift_server.server.counters.bad_messages > bad, "the bad input was not counted"
    thrift_server.answers()
