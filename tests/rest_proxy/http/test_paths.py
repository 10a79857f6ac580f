"""Paths that are not there, or nearly; methods that every path answers; pages of other origins."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from process.version import VERSION
from rest_proxy.http.server.compression import coding_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/any"), ("POST", "/v1/nothing"), ("GET", "/predict/more")])
async def test_a_path_that_is_not_there_is_404_with_those_that_are(proxy: Proxy, method: str, path: str) -> None:
    answer = await proxy.ask(method, path, headers={"Accept": "application/json"})
    assert (answer.status, answer.json["error"]["code"]) == (404, "NOT_FOUND")
    assert answer.json["error"]["message"].startswith(f"there is no path {path}; there are /?doc=, /api/inference, ")
    assert (await proxy.ask(method, path)).body.startswith(b"there is no path ")


@pytest.mark.parametrize("path", ["/predict/", "//predict", "/predict//", "//predict///"])
async def test_slashes_too_many_are_forgiven(proxy: Proxy, path: str) -> None:
    answer = await proxy.ask("POST", path, json={"doc": "x"})
    assert (answer.status, list(answer.json)) == (200, ["scores"])


async def test_slashes_alone_are_the_root(proxy: Proxy) -> None:
    assert (await proxy.ask("GET", "//")).json["service"] == "predictor"


@pytest.mark.parametrize(
    ("path", "body"),
    [("/ping", {"ready": True}), ("/version", {"version": VERSION}), ("/health", None), ("/metrics", None)],
)
async def test_paths_that_probes_ask(proxy: Proxy, path: str, body: Any) -> None:
    answer = await proxy.ask("GET", path)
    assert (answer.status, answer.json) == (200, body)
    assert (await proxy.ask("HEAD", path)).status == 200


async def test_ping_says_when_no_server_is_ready(proxy: Proxy, server: ThriftServer) -> None:
    server.ready = False
    assert (await proxy.ask("GET", "/ping")).status == 503


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/predict", "GET, HEAD, POST, OPTIONS"), ("/generate", "POST, OPTIONS"), ("/healthz", "GET, HEAD, OPTIONS")],
)
async def test_options_are_the_methods(proxy: Proxy, path: str, allowed: str) -> None:
    answer = await proxy.ask("OPTIONS", path, headers=PREFLIGHT)
    assert (answer.status, answer.headers["Allow"]) == (204, allowed)
    assert "Access-Control-Allow-Methods" not in answer.headers


async def test_options_of_the_root_say_whether_it_is_ready(proxy: Proxy, server: ThriftServer) -> None:
    """HAProxy's check, where nothing else is set."""
    answer = await proxy.ask("OPTIONS", "/")
    assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    server.ready = False
    assert (await proxy.ask("GET", "/readyz")).status == 503  # now it knows
    assert (await proxy.ask("OPTIONS", "/")).status == 503
    assert (await proxy.ask("OPTIONS", "/", headers=PREFLIGHT)).status == 204


@pytest.mark.parametrize("path", ["/", "//", "/?x=1", "/v2/models/minilm/infer", "/swagger"])
async def test_options_of_paths_with_several_routes(proxy: Proxy, path: str) -> None:
    answer = await proxy.ask("OPTIONS", path)
    allowed = "GET, HEAD, POST, OPTIONS" if "/" * len(path.partition("?")[0]) in path else None
    assert answer.status == 204
    assert answer.headers["Allow"] == (allowed or ("POST, OPTIONS" if "infer" in path else "GET, HEAD, OPTIONS"))


async def test_options_may_have_a_document_for_pytext(proxy: Proxy) -> None:
    assert b"alarm/set_alarm" in (await proxy.ask("OPTIONS", "/?doc=a")).body
    assert (await proxy.ask("OPTIONS", "/nothing")).status == 404


async def test_every_get_is_answered_to_head(proxy: Proxy) -> None:
    paths = (await proxy.ask("GET", "/")).json["paths"]
    document = (await proxy.ask("GET", "/openapi.json")).json["paths"]
    without_fields = [path for path in paths if "{" not in path and "get" in document.get(path, {})]
    assert len(without_fields) > 20
    for path in without_fields:
        told, asked = (await proxy.ask("HEAD", path)), (await proxy.ask("GET", path))
        assert (told.status, told.body) == (asked.status, b""), path
        assert told.headers["Content-Type"] == asked.headers["Content-Type"]
        allowed = (await proxy.ask("OPTIONS", path)).headers["Allow"].split(", ")
        assert {"GET", "HEAD", "OPTIONS"} <= set(allowed)


async def test_a_browser_may_ask_first_for_pytexts_route(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, cors_origins=("https://app.example",))
    for path in ("/?doc=a", "/elsewhere?doc=a", "/"):
        answer = await proxy.ask("OPTIONS", path, headers=PREFLIGHT)
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


async def test_other_origins_may_not_call_unless_a_setting_says_so(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/healthz", headers=ORIGIN)
    assert not any(name.startswith("Access-Control") for name in answer.headers)


@pytest.mark.parametrize(
    "origins", [("https://app.example",), ("*",), ("https://other.example", "https://app.example")]
)
async def test_origins_of_the_setting_may_call(
    new_proxy: Callable[..., Any], server: ThriftServer, origins: tuple[str, ...]
) -> None:
    proxy = await new_proxy(server, cors_origins=origins)
    asked = await proxy.ask("OPTIONS", "/predict", headers=PREFLIGHT)
    assert asked.status == 204
    assert asked.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, OPTIONS"
    assert asked.headers["Access-Control-Allow-Headers"] == "content-type"
    for path in ("/predict?doc=a", "/?doc=a", "/predict", "/nothing"):
        answer = await proxy.ask("GET", path, headers=ORIGIN)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answer.headers["Vary"]


async def test_a_stream_has_the_headers_too(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, cors_origins=("*",))
    answer = await proxy.ask("POST", "/generate", json={"prompt": "a", "stream": True}, headers=ORIGIN)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")


async def test_no_other_origin_may_call(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, cors_origins=("https://mine.example",))
    for method in ("GET", "OPTIONS"):
        answer = await proxy.ask(method, "/predict?doc=a", headers=PREFLIGHT)
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("*", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("", None),
    ],
)
def test_which_coding_is_asked_for(accepted: str, coding: str | None) -> None:
    assert coding_of(accepted) == coding


async def test_large_answers_are_compressed_where_that_is_asked_for(
    new_proxy: Callable[..., Any], server: ThriftServer
) -> None:
    proxy = await new_proxy(server, compress_bytes=256)
    readers = {"gzip": gzip.decompress, "zstd": zstandard.decompress, "identity": bytes}
    proxy.session._auto_decompress = False
    plain = json.dumps({"docs": ["a"] * 100})
    bodies = set()
    for coding, read in readers.items():
        headers = {"Accept-Encoding": coding, "Content-Type": "application/json"}
        async with proxy.session.post(f"{proxy.url}/predict", data=plain, headers=headers) as answer:
            assert answer.headers.get("Content-Encoding", "identity") == coding
            assert answer.headers["Vary"] == "Accept-Encoding"
            bodies.add(read(await answer.read()))
    assert len(bodies) == 1
    async with proxy.session.post(f"{proxy.url}/predict", json={"doc": "a"}) as answer:
        assert "Content-Encoding" not in answer.headers, "it is small"


async def test_a_body_by_gzips_old_name(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_body_bytes=2048)
    headers = {"Content-Encoding": "x-gzip", "Content-Type": "application/json"}
    for body, status in (
        (gzip.compress(b'{"doc": "a"}'), 200),
        (gzip.compress(b'{"doc": "a"}')[:-9], 400),
        (b"nonsense", 400),
        (gzip.compress(b" " * 100_000), 413),
    ):
        async with proxy.session.post(f"{proxy.url}/predict", data=body, headers=headers) as answer:
            assert answer.status == status, await answer.text()


@pytest.mark.parametrize("path", ["/predict", "/v1/completions"])
async def test_json_sent_as_a_form_says_how_to_send_it(proxy: Proxy, path: str) -> None:
    said = await proxy.curl("-d", '{"doc": "a"}', f"URL{path}")
    assert "curl --json" in json.loads(said)["error"]["message"]


@pytest.mark.parametrize("path", ["/predict", "/v1/completions", "/v1/embeddings", "/api/inference"])
async def test_json_without_a_content_type_says_how_to_send_it(proxy: Proxy, path: str) -> None:
    said = await proxy.curl("-H", "Content-Type:", "-d", '{"doc": "a"}', f"URL{path}")
    assert "the body has no content type" in said
    assert "curl --json" in said


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/embed", {"doc": "a"}, "doc: there is no such field; did you mean text?"),
        ("/embed", {"documents": ["a"]}, "documents: there is no such field; did you mean texts?"),
        ("/predict", {"texts": ["a"]}, "texts: there is no such field; did you mean docs?"),
        ("/predict", {"doc": "a", "labels": ["a"]}, "labels: there is no such field; did you mean candidate_labels?"),
        ("/predict", {"doc": "a", "text": "a"}, "text: there is no such field"),
        (
            "/generate",
            {"prompt": "a", "max_new_tokens": 3},
            "max_new_tokens: there is no such field; did you mean max_tokens?",
        ),
        ("/rerank", {"querry": "a", "texts": ["a"]}, "query: this field is required; is it what you sent as querry?"),
    ],
)
async def test_wrong_fields_name_what_is_called_so_elsewhere(
    proxy: Proxy, path: str, fields: dict[str, Any], message: str
) -> None:
    assert (await proxy.ask("POST", path, json=fields)).json["error"]["message"] == message


async def test_other_interfaces_name_the_right_field_too(proxy: Proxy) -> None:
    answer = await proxy.ask("POST", "/v1/embeddings", json={"model": "m", "texts": ["a"]})
    assert answer.json["error"]["message"] == "input: this field is required; is it what you sent as texts?"


async def test_a_wrong_field_names_the_right_one(proxy: Proxy) -> None:
    for answer in (await proxy.ask("GET", "/predict?dok=a"), await proxy.ask("POST", "/predict", json={"dok": "a"})):
        assert answer.json["error"]["message"] == "dok: there is no such field; did you mean doc?"


@pytest.mark.parametrize("path", ["/?doc=", "/predict?doc="])
async def test_raw_utf_8_in_a_query_is_taken(proxy: Proxy, server: ThriftServer, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"GET {path}caf\u00e9+x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert server.named("predict")[0][0] == "caf\u00e9 x"


async def test_a_stream_for_an_old_client_ends_with_its_connection(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    body = b'{"prompt": "a", "stream": true}'
    head = b"POST /generate HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 30)  # a kept one is closed after 75 s
    writer.close()
    assert b"finish_reason" in answer
