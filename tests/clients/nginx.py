"""Streams through nginx as it is installed: they arrive token by token, and clients that go away free their slots.

Run by `make test-nginx` and not by `make test`, because it needs nginx. On Debian: apt-get install nginx-light.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_chat_streams import folder, require_free_slot, service, streamed
from tests.support.service import HOST, Service, eventually, free_port, is_listening, program_path

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

_HOW = "apt-get install nginx-light"

__all__ = ["folder", "service"]  # the fixtures


@pytest.fixture(scope="module")
def nginx(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an nginx whose one location passes everything on: nothing else is set."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    program = program_path("nginx", _HOW)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {paths}\n"
        f"server {{ listen {HOST}:{port}; location / {{ proxy_pass http://{HOST}:{service.rest_port}; }} }} }}\n"
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        eventually(lambda: is_listening(port), "nginx listens")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def events_of(response: http.client.HTTPResponse) -> list[tuple[float, str]]:
    """When each event came, and what it says."""
    found = []
    while line := response.readline():
        if line.startswith(b"data: "):
            found.append((time.monotonic(), line[6:].decode().strip()))
    return found


def test_nginx_passes_a_stream_on_as_it_grows(service: Service, nginx: int) -> None:
    texts = []
    for port in (service.rest_port, nginx):
        with streamed(port) as response:
            events = events_of(response)
        assert events[-1][1] == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"] for _, event in events[:-1]]
        assert deltas[0] == {"role": "assistant", "content": ""}
        texts.append("".join(delta.get("content", "") for delta in deltas))
        moments = [moment for moment, _ in events]
        # Parts come at least 20 ms apart (stream_interval_ms); a proxy that collects them brings all at the end.
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert sum(gap > 0.01 for gap in gaps) > len(deltas) // 2
        assert len(deltas) > 10
    assert texts[0] == texts[1]


def test_a_client_that_goes_away_frees_its_slot(service: Service, nginx: int) -> None:
    require_free_slot(service, nginx)
