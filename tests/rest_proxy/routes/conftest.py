"""A proxy in front of the server's own handler, with a model whose answers are computed from letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
from predictor.ttypes import ServerStatus

from rest_proxy.config import Address
from server.config import Settings
from server.rpc.handler import Handler
from server.transport.limits import limits_of
from server.transport.server import ThriftServer
from tests.support.letters import Letters, registry_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rest_proxy.conftest import Proxy

HOST = "127.0.0.1"


@pytest.fixture
async def letters() -> AsyncIterator[tuple[Letters, Address]]:
    """The model, and where it is served."""
    settings, model = Settings(), Letters()
    handler = Handler(registry_of(settings, letters=model), settings, lambda: ServerStatus("", 0.0, True, [], 0, []))
    server = ThriftServer(handler, limits_of(settings), structlog.get_logger())
    await server.start(HOST, 0)
    yield model, Address(HOST, server.port)
    server.close()


@pytest.fixture
async def of_letters(new_proxy: Callable[..., Any], letters: tuple[Letters, Address]) -> Proxy:
    """A proxy with its default settings in front of the model."""
    proxy: Proxy = await new_proxy(letters[1])
    return proxy
