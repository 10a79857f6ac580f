"""Requests that a page of somebody else's made a browser send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.tokens import TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rest_proxy.config import Address
    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer
    from tests.support.letters import Letters

JOB = "/?model=gs://m&input=gs://i&output=gs://o"
BATCH = {"method": "predict", "input": "in", "output": "out"}
BROWSER = {"User-Agent": "Mozilla/5.0"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("10.1.2.3:8080", 200),
        ("predictor:8080", 200),
        ("predictor.default.svc.cluster.local", 200),
        ("machine.local:8080", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("[evil.example]", 403),
        ("a:b.evil.example:1", 403),
    ],
)
async def test_names_that_lead_here(proxy: Proxy, host: str, status: int) -> None:
    for path in ("/predict?doc=a", "/healthz", "/?doc=a", "/nothing?doc=a"):
        answer = await proxy.ask("GET", path, headers={"Host": host})
        assert answer.status == status
    if status == 403:
        answer = await proxy.ask("GET", "/predict?doc=a", headers={"Host": host})
        error = answer.json["error"]
        assert (error["code"], error["setting"]) == ("PERMISSION_DENIED", "hosts")


@pytest.mark.parametrize("hosts", [("ml.example", "other.example"), ("*",)])
async def test_names_that_are_given(new_proxy: Callable[..., Any], server: ThriftServer, hosts: tuple[str]) -> None:
    proxy = await new_proxy(server, hosts=hosts)
    assert (await proxy.ask("GET", "/predict?doc=a", headers={"Host": "ML.example:80"})).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{port}", 200), ("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403)],
)
async def test_pages_of_other_origins(proxy: Proxy, origin: str, status: int) -> None:
    headers = {"Origin": origin.format(port=proxy.port)}
    for path, body in (("/predict", {"data": {"doc": "a"}}), ("/predict", {"json": {"doc": "a"}})):
        answer = await proxy.ask("POST", path, headers=headers, **body)
        assert answer.status == status
    if status == 403:
        assert answer.json["error"]["setting"] == "cors_origins"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Referer": "http://evil.example/page"}, True),
        (BROWSER, True),
        ({**BROWSER, "Sec-Fetch-Site": "none"}, False),
        ({**BROWSER, "Sec-Fetch-Site": "same-origin"}, False),
        ({**BROWSER, "Referer": "http://127.0.0.1:{port}/"}, False),
        ({}, False),
    ],
)
async def test_jobs_by_a_link_or_an_image(
    proxy: Proxy, server: ThriftServer, headers: dict[str, str], refused: bool
) -> None:
    server.jobs_end_at_once = True
    asked = {name: value.format(port=proxy.port) for name, value in headers.items()}
    answer = await proxy.ask("GET", JOB, headers=asked)
    assert (answer.status == 403) == refused, answer.body
    answer = await proxy.ask("POST", "/batches", json=BATCH, headers=asked)
    assert (answer.status == 403) == refused, answer.body
    assert (await proxy.ask("GET", "/predict?doc=a", headers=asked)).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_jobs_want_json(proxy: Proxy, content_type: str) -> None:
    """What a form of any page may send does not start one."""
    answer = await proxy.ask("POST", "/batches", data=b"{}", headers={"Content-Type": content_type})
    assert answer.status == 415


async def test_with_tokens_a_page_elsewhere_may_call(
    new_proxy: Callable[..., Any], letters: tuple[Letters, Address], tmp_path: Path
) -> None:
    """It has to know one: no browser adds them by itself."""
    tokens = TokenFile(tmp_path / "tokens.toml")
    token = tokens.add("app")
    tokens.write()
    proxy = await new_proxy(letters[1], token_file=tokens.path)
    headers = {"Host": "ml.example", "Origin": "http://evil.example"}
    assert (await proxy.ask("GET", "/predict?doc=a", headers=headers)).status == 401
    headers["Authorization"] = f"Bearer {token}"
    assert (await proxy.ask("GET", "/predict?doc=a", headers=headers)).status == 200
