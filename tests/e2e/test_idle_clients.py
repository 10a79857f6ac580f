"""Clients that say nothing, as many as the server takes, beside clients that work."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.load import at_once
from tests.server.transport.thrift_clients import HOST
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THRIFT_LIMIT = 24
IDLE_HTTP = 200
BUSY = 16
REQUESTS = 20


def test_http_has_connections_of_its_own(zoo: Callable[[str], Path]) -> None:
    """Idle Thrift clients fill `connections`, and many more are idle on the HTTP port: nobody else notices."""
    with Service(zoo("docnn_mask"), f"--connections={THRIFT_LIMIT}") as service, contextlib.ExitStack() as idle:
        for _ in range(THRIFT_LIMIT):
            expected = idle.enter_context(service.client()).predict("set an alarm", None)
        for _ in range(IDLE_HTTP):
            asked(idle.enter_context(connection(service)), "GET", "/healthz")
        answers = at_once(BUSY, lambda _: work(service))
        assert service.http("/readyz").status == 200
    assert len(answers) == BUSY
    for scores in (scores for each in answers for scores in each):
        assert scores == pytest.approx(expected, abs=1e-5)


def connection(service: Service) -> contextlib.closing[http.client.HTTPConnection]:
    """One that is kept open."""
    return contextlib.closing(http.client.HTTPConnection(HOST, service.rest_port, timeout=60))


def asked(client: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> bytes:
    """The answer, whose status is 200."""
    client.request(method, path, body, {"Content-Type": "application/json"})
    response = client.getresponse()
    content = response.read()
    assert response.status == 200, content
    return content


def work(service: Service) -> list[dict[str, float]]:
    """The scores that a busy client gets on one connection."""
    with connection(service) as client:
        bodies = [asked(client, "POST", "/predict", '{"doc": "set an alarm"}') for _ in range(REQUESTS)]
    return [json.loads(body)["scores"] for body in bodies]
