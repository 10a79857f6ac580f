"""Clients of conversations that go away: their slots are free within two steps."""

from __future__ import annotations

import http.client
import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.folders import chats
from tests.support.service import HOST, Service, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 200, "temperature": 0, "stream": True}
MOST_STEPS = 2


@pytest.fixture(scope="module")
def folder(shared_files: SharedFiles) -> Path:
    return shared_files.made("slow_chat", chats.write_slow)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with Service(f"--model=chat={folder}") as running:
        yield running


@contextmanager
def streamed(port: int, body: Any = BODY) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        yield response


def require_free_slot(service: Service, port: int) -> None:
    """A client of this port that goes away in the middle frees its slot within two steps."""
    before = service.model_status().cancelled
    with streamed(port, BODY | {"max_tokens": 900}) as response:
        eventually(lambda: b'{"delta":{"content":' in response.readline().replace(b'"index":0,', b""), "text comes")
        steps = service.model_status().batches
    eventually(lambda: service.model_status().running == 0, "the slot is free", timeout_s=5)
    after = service.model_status()
    assert after.cancelled == before + 1
    assert after.batches - steps <= MOST_STEPS


def test_a_client_that_goes_away_frees_its_slot(service: Service) -> None:
    require_free_slot(service, service.rest_port)


def test_a_whole_answer_that_nobody_waits_for_frees_its_slot(service: Service) -> None:
    before = service.model_status().cancelled
    connection = http.client.HTTPConnection(HOST, service.rest_port, timeout=60)
    with closing(connection):
        body = json.dumps(BODY | {"max_tokens": 900, "stream": False})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        eventually(lambda: service.model_status().running == 1, "it runs")
    eventually(lambda: service.model_status().running == 0, "the slot is free", timeout_s=5)
    assert service.model_status().cancelled == before + 1
