"""PyText's REST proxy, row by row of the compatibility table: any method, any path, the query parameter `doc`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode, Lane

from tests.rest_proxy.thrift_server import SCORES, ThriftServer, refuse

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy

LINES = "Zürich:-1e-07\nalarm/set_alarm:-0.015625\nweather/find:-4.25\n"


async def test_pytext_curl_line_of_the_tutorial(proxy: Proxy, server: ThriftServer) -> None:
    assert await proxy.curl("-G", "URL", "--data-urlencode", "doc=set an alarm") == LINES
    assert server.named("predict")[0][0] == "set an alarm"


async def test_pytext_answers_any_method_on_any_path(proxy: Proxy) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"):
        assert await proxy.curl("-X", method, "URL/?doc=hello") == LINES
    for path in ("/any", "/any/path.html", "/predict/", "//x", "/a%2Fb", "/%70redict"):
        assert await proxy.curl(f"URL{path}?doc=hello") == LINES


async def test_pytext_answers_head_without_a_body(proxy: Proxy) -> None:
    answer = await proxy.ask("HEAD", "/?doc=hello")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(LINES.encode()))


@pytest.mark.parametrize("path", ["/?document=x", "/?DOC=x"])
async def test_pytext_without_doc(proxy: Proxy, path: str) -> None:
    out = await proxy.curl("-w", "%{http_code} %{content_type}", f"URL{path}")
    assert out == "Missing query parameter: doc\n400 text/plain; charset=utf-8"


async def test_pytext_takes_doc_from_the_query_only(proxy: Proxy) -> None:
    assert await proxy.curl("-d", "doc=hello", "URL/") == "Missing query parameter: doc\n"


@pytest.mark.parametrize("query", ["doc=", "doc"])
async def test_pytext_empty_doc_is_passed_on(proxy: Proxy, server: ThriftServer, query: str) -> None:
    assert await proxy.curl(f"URL/?{query}") == LINES
    assert server.named("predict")[0][0] == ""


async def test_pytext_first_doc_wins(proxy: Proxy, server: ThriftServer) -> None:
    await proxy.curl("URL/?x=1&doc=first&doc=second")
    assert server.named("predict")[0][0] == "first"


async def test_pytext_better_a_plus_is_a_space(proxy: Proxy, server: ThriftServer) -> None:
    await proxy.curl("URL/?doc=set+an+alarm%2B1")
    assert server.named("predict")[0][0] == "set an alarm+1"


async def test_pytext_better_bytes_that_are_not_utf_8_are_replaced(proxy: Proxy, server: ThriftServer) -> None:
    assert await proxy.curl("URL/?doc=caf%E9%20noir") == LINES
    assert server.named("predict")[0][0] in ("caf\ufffd noir", "caf%E9 noir")


async def test_pytext_labels_are_sorted_by_byte_and_scores_written_as_percent_g(
    proxy: Proxy, server: ThriftServer
) -> None:
    scores = {"b": -1.88020001, "a": 123456789.0, "B": 1e-5, "é": 0.0001, "z": 100000.0, "_": float("-inf"), "𝄞": 2.0}
    scores |= {"￿": -0.0, "": 1e300}
    server.answer = lambda _doc, _options: scores
    out = await proxy.curl("URL/?doc=x")
    shell = ["printf", "%s:%g\\n"]
    for label in sorted(scores, key=str.encode):
        shell += [label, repr(scores[label])]
    process = await asyncio.create_subprocess_exec("/usr/bin/env", *shell, stdout=-1)
    expected, _ = await process.communicate()
    assert out == expected.decode()


async def test_pytext_better_json_when_asked_for(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/?doc=x", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {"scores": SCORES}
    assert list(answer.json["scores"]) == ["Zürich", "alarm/set_alarm", "weather/find"], "highest first"


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("*/*", False),
        ("text/plain", False),
        ("application/json, text/plain, */*", True),
        ("text/plain, application/json;q=0.5", False),
        ("text/plain;q=0.5, Application/JSON", True),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        (";;,,q=", False),
    ],
)
async def test_pytext_better_the_header_accept_decides(proxy: Proxy, accept: str, is_json: bool) -> None:
    answer = await proxy.ask("GET", "/?doc=x", headers={"Accept": accept})
    assert (answer.json is not None) == is_json
    assert answer.headers["Vary"] == "Accept"


async def test_pytext_better_a_content_type(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/?doc=x")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_pytext_better_many_connections_at_once(proxy: Proxy, server: ThriftServer) -> None:
    """The old server answered one connection after the other: here eight wait at the same time."""
    server.answer = server.hold
    asked = [asyncio.create_task(proxy.ask("GET", f"/?doc={number}")) for number in range(8)]
    for _ in asked:
        assert await asyncio.to_thread(server.held.acquire, timeout=60)
    server.release.set()
    assert [answer.body.decode() for answer in await asyncio.gather(*asked)] == [f"{n}:1\n" for n in range(8)]


async def test_pytext_errors_of_the_server_are_a_line_of_text(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = refuse(ErrorCode.INVALID_ARGUMENT)
    out = await proxy.curl("-w", "%{http_code} %{content_type}", "URL/?doc=x")
    assert out == "refused with INVALID_ARGUMENT\n400 text/plain; charset=utf-8"


async def test_pytext_errors_are_json_when_asked_for(proxy: Proxy) -> None:
    headers = {"Accept": "application/json", "X-Request-Id": "r-1"}
    answer = await proxy.ask("GET", "/?x=1", headers=headers)
    error = {"code": "INVALID_ARGUMENT", "message": "Missing query parameter: doc", "request_id": "r-1"}
    assert (answer.status, answer.json) == (400, {"error": error})


async def test_pytext_better_options_count(proxy: Proxy, server: ThriftServer) -> None:
    await proxy.curl("URL/?doc=x&model=mine&timeout_ms=77&lane=bulk&other=1&model=yours")
    ((doc, options),) = server.named("predict")
    assert (doc, options.model, options.timeout_ms, options.lane) == ("x", "mine", 77, Lane.BULK)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("timeout_ms=soon", "timeout_ms: expected an integer, got 'soon'\n"),
        ("lane=fast", "lane: expected 'interactive' or 'bulk', got 'fast'\n"),
    ],
)
async def test_pytext_better_wrong_options_are_400(proxy: Proxy, query: str, message: str) -> None:
    answer = await proxy.ask("GET", f"/?doc=x&{query}")
    assert (answer.status, answer.body.decode()) == (400, message)


async def test_pytext_better_who_looks_is_greeted(proxy: Proxy) -> None:
    """A balancer takes anything but 200 for a server that is down."""
    answer = await proxy.ask("GET", "/")
    assert (answer.status, answer.json["service"], answer.json["ready"]) == (200, "predictor", "/readyz")
    assert {"/?doc=", "/predict", "/openapi.json"} <= set(answer.json["paths"])
    assert (await proxy.ask("HEAD", "/")).status == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [("lane=", b"lane: expected "), ("timeout_ms=", b"timeout_ms: "), ("lane=x", b"lane: expected ")],
)
async def test_pytext_better_an_empty_option_is_not_ignored(proxy: Proxy, query: str, message: bytes) -> None:
    for path in ("/", "/any/path"):
        answer = await proxy.ask("GET", f"{path}?{query}&doc=a")
        assert answer.status == 400
        assert answer.body.startswith(message)


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_pytext_better_a_browser_gets_the_page(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/", headers=BROWSER)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")
    assert b"http://www.w3.org" in answer.body, "the icon's name space, the only address in it"
    assert answer.body.count(b"://") == 1, "a page without external resources"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/?x=1"), ("POST", "/")])
async def test_pytext_a_browser_elsewhere_gets_the_old_answer(proxy: Proxy, method: str, path: str) -> None:
    answer = await proxy.ask(method, path, headers=BROWSER)
    assert (answer.status, answer.body) == (400, b"Missing query parameter: doc\n")
