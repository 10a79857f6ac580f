"""/predict and /reply: every form of a request, what reaches the server, and every error."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData
from predictor.ttypes import ErrorCode, Lane, PredictionError, ReplyOptions, RequestOptions

from tests.rest_proxy.thrift_server import REPLIES, SCORES, ThriftServer, refuse

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy

OPTIONS = {"model": "docnn", "timeout_ms": 1234, "lane": "bulk"}


async def predict(proxy: Proxy, **fields: Any) -> Answer:
    return await proxy.ask("POST", "/predict", json=fields)


@pytest.mark.parametrize("form", ["query", "POST query", "form", "multipart", "JSON"])
async def test_one_document_with_options_in_every_form(proxy: Proxy, server: ThriftServer, form: str) -> None:
    fields = {"doc": "set an älarm + 1", **OPTIONS}
    words = {name: str(value) for name, value in fields.items()}
    request: dict[str, tuple[str, dict[str, Any]]] = {
        "query": ("GET", {"params": words}),
        "POST query": ("POST", {"params": words}),
        "form": ("POST", {"data": words}),
        "multipart": ("POST", {"data": FormData(words, default_to_multipart=True)}),
        "JSON": ("POST", {"json": fields}),
    }
    method, body = request[form]
    answer = await proxy.ask(method, "/predict", headers={"X-Request-Id": "r-1"}, **body)
    assert (answer.status, answer.json) == (200, {"scores": SCORES})
    options = RequestOptions("docnn", 1234, Lane.BULK, "r-1")
    assert server.named("predict") == [("set an älarm + 1", options)]


@pytest.mark.parametrize("form", ["query", "form", "multipart", "JSON"])
async def test_several_documents_in_every_form(proxy: Proxy, server: ThriftServer, form: str) -> None:
    pairs = [("docs", "a"), ("docs", ""), ("docs", "c")]
    request: dict[str, tuple[str, dict[str, Any]]] = {
        "query": ("GET", {"params": pairs}),
        "form": ("POST", {"data": FormData(pairs)}),
        "multipart": ("POST", {"data": FormData(pairs, default_to_multipart=True)}),
        "JSON": ("POST", {"json": {"docs": ["a", "", "c"]}}),
    }
    method, body = request[form]
    answer = await proxy.ask(method, "/predict", **body)
    assert answer.json == {"results": [{"scores": {"a": 0.0}}, {"scores": {"": 1.0}}, {"scores": {"c": 2.0}}]}
    assert server.named("predict_batch")[0][0] == ["a", "", "c"]


async def test_query_and_form_together(proxy: Proxy, server: ThriftServer) -> None:
    assert await proxy.curl("-d", "doc=hello", "URL/predict?model=docnn") == (
        '{"scores":{"Zürich":-1e-7,"alarm/set_alarm":-0.015625,"weather/find":-4.25}}\n'
    )
    assert server.named("predict")[0][1].model == "docnn"


async def test_scores_come_best_first_and_what_json_does_not_have_is_null(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = lambda _doc, _options: {"a": float("-inf"), "b": 2.0, "c": float("inf"), "d": 1.0}
    answer = await predict(proxy, doc="x")
    assert list(answer.json["scores"].items()) == [("c", None), ("b", 2.0), ("d", 1.0), ("a", None)]


async def test_defaults_of_the_options(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, timeout_ms=4321)
    answer = await predict(proxy, doc="x")
    request_id = answer.headers["X-Request-Id"]
    assert request_id
    assert server.named("predict") == [("x", RequestOptions(None, 4321, None, request_id))]


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "é"])
async def test_a_request_id_that_is_not_sane_is_replaced(proxy: Proxy, server: ThriftServer, given: str) -> None:
    answers = [await proxy.ask("GET", "/predict?doc=x", headers={"X-Request-Id": given}) for _ in range(2)]
    made = [answer.headers["X-Request-Id"] for answer in answers]
    assert made[0] != made[1]
    assert given not in made
    assert [options.request_id for _, options in server.named("predict")] == made


async def test_replies(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("GET", "/reply?message=Hello&max_replies=3&threshold=0.25&model=sr")
    assert answer.json == {"replies": REPLIES}
    message, options, reply_options = server.named("reply")[0]
    assert (message, options.model, reply_options) == ("Hello", "sr", ReplyOptions(3, 0.25))


async def test_several_messages(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("POST", "/reply", json={"messages": ["y", "z"]})
    replies = [{"y": 1.5, "b": 1.0, "a": 0.5}, {"z": 1.5, "b": 1.0, "a": 0.5}]
    assert answer.json == {"results": [{"replies": each} for each in replies]}
    assert server.named("reply_batch")[0][2] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "give either doc or docs"),
        ({"doc": "a", "docs": ["b"]}, "give either doc or docs"),
        ({"doc": None}, "give either doc or docs"),
        ({"doc": 1}, "doc: expected a string"),
        ({"doc": ["a"]}, "doc: expected a string"),
        ({"docs": "a"}, "docs: expected a list"),
        ({"docs": ["a", None]}, "docs[1]: expected a string"),
        ({"doc": "a", "model": 1}, "model: expected a string"),
        ({"doc": "a", "timeout_ms": "100"}, "timeout_ms: expected an integer"),
        ({"doc": "a", "timeout_ms": True}, "timeout_ms: expected an integer"),
        ({"doc": "a", "timeout_ms": 1.5}, "timeout_ms: expected an integer"),
        ({"doc": "a", "timeout_ms": 0}, "timeout_ms: must be at least 1"),
        (
            {"doc": "a", "timeout_ms": 600_001},
            "timeout_ms: must lie between 1 and 600,000, got 600001 (setting max_timeout_ms)",
        ),
        ({"doc": "a", "timeout_ms": 10**400}, "timeout_ms: must be at most 2147483647"),
        ({"doc": "a", "lane": "fast"}, "lane: expected 'interactive' or 'bulk', got 'fast'"),
        ({"doc": "a", "timeout": 5}, "timeout: there is no such field"),
        ([], "expected an object"),
        ("doc", "expected an object"),
    ],
)
async def test_wrong_json_is_400_and_the_message_names_the_field(
    proxy: Proxy, server: ThriftServer, body: Any, message: str
) -> None:
    answer = await proxy.ask("POST", "/predict", json=body)
    assert answer.status == 400
    assert answer.json["error"]["code"] == "INVALID_ARGUMENT"
    assert answer.json["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert answer.json["error"]["message"].startswith(message)
    assert answer.json["error"].get("field") == (message.partition(":")[0] if ":" in message else None)
    assert server.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"doc=a",
        b'{"doc":"\xff"}',
        b'{"doc":"\\ud800"}',
        b'{"doc":NaN}',
        b"[" * 50_000,
        b"\x00",
        b'{"doc":1e}',
    ],
)
async def test_malformed_json_is_400(proxy: Proxy, server: ThriftServer, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    answer = await proxy.ask("POST", "/predict", data=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert server.calls == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "give either doc or docs"),
        ("doc=a&doc=b", "doc: this field is given more than once; only 'docs' and 'candidate_labels' may be"),
        ("doc=a&timeout_ms=soon", "timeout_ms: expected an integer"),
        ("doc=a&timeout_ms=-1", "timeout_ms: must be at least 1"),
        ("doc=a&x=1", "x: there is no such field"),
        ("doc=a&" + "x" * 1000 + "=1", f"{'x' * 64}: there is no such field"),
    ],
)
async def test_a_wrong_query_is_400(proxy: Proxy, query: str, message: str) -> None:
    answer = await proxy.ask("GET", f"/predict?{query}")
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("message=a&max_replies=0", "max_replies: must be at least 1"),
        ("message=a&max_replies=1001", "max_replies: must be at most 1000"),
        ("message=a&threshold=NaN", "threshold: must be a finite number"),
        ("doc=a", "doc: there is no such field"),
    ],
)
async def test_a_wrong_query_for_replies_is_400(proxy: Proxy, query: str, message: str) -> None:
    answer = await proxy.ask("GET", f"/reply?{query}")
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(message)


async def test_a_json_body_stands_alone(proxy: Proxy) -> None:
    answer = await proxy.ask("POST", "/predict?model=m", json={"doc": "a"})
    assert answer.status == 400
    assert (
        answer.json["error"]["message"]
        == "model: with a JSON body, every field belongs into the body, not into the query"
    )


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "application/jsonp", "nonsense"])
async def test_another_content_type_is_415(proxy: Proxy, content_type: str) -> None:
    answer = await proxy.ask("POST", "/predict", data=b'{"doc":"a"}', headers={"Content-Type": content_type})
    assert (answer.status, answer.json["error"]["code"]) == (415, "INVALID_ARGUMENT")
    assert "application/json" in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [b"doc=%FF", b"doc=\xff"])
async def test_a_form_that_is_not_utf_8_is_400(proxy: Proxy, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await proxy.ask("POST", "/predict", data=body, headers=headers)
    assert (answer.status, answer.json["error"]["message"]) == (
        400,
        "the form is not valid UTF-8: invalid start byte",
    )


@pytest.mark.parametrize("path", ["/predict?doc=%FF", "/reply?message=a%c3", "/embed?text=%ed%a0%80"])
async def test_a_query_that_is_not_utf_8_is_400(proxy: Proxy, path: str) -> None:
    answer = await proxy.ask("GET", path)
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("the query is not valid UTF-8: ")


async def test_another_content_encoding_is_415(proxy: Proxy) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "compress"}
    answer = await proxy.ask("POST", "/predict", data=b'{"doc":"a"}', headers=headers)
    assert (answer.status, answer.json["error"]["message"]) == (
        415,
        "content encoding 'compress' is not supported; use gzip or deflate, or none",
    )


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "idna"])
async def test_a_part_of_another_charset_is_400(proxy: Proxy, charset: str) -> None:
    """Some codecs of Python's take the square of a text's length in time."""
    part = f'--b\r\nContent-Disposition: form-data; name="doc"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = part.encode() + b"tda" + b"a" * 500_000 + b"\r\n--b--\r\n"
    answer = await asyncio.wait_for(proxy.ask("POST", "/predict", data=body, headers=headers), 60)
    assert answer.status == 400
    assert f"a part has the charset '{charset}'; use UTF-8" in answer.json["error"]["message"]


async def test_a_file_in_a_form_is_400(proxy: Proxy) -> None:
    form = FormData()
    form.add_field("doc", b"text", filename="doc.txt", content_type="text/plain")
    answer = await proxy.ask("POST", "/predict", data=form)
    assert (answer.status, answer.json["error"]["message"]) == (400, "doc: this is a file or binary; send it as text")


PART = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n%b\r\ntext\r\n'


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"--x\r\n\r\nno name\r\n--x--\r\n", b"--x\r\nno head", b"--y--"),
        PART % (b"doc", b"Content-Type: text/plain; charset=none\r\n") + b"--x--\r\n",
        PART % (b"doc", b"Content-Transfer-Encoding: none\r\n") + b"--x--\r\n",
        (PART % (b"_charset_", b"")).replace(b"text", b"x" * 50) + b"--x--\r\n",
    ],
)
async def test_a_malformed_multipart_form_is_400(proxy: Proxy, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await proxy.ask("POST", "/predict", data=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.INVALID_ARGUMENT, 400),
        (ErrorCode.NOT_FOUND, 404),
        (ErrorCode.TOO_LARGE, 413),
        (ErrorCode.OVERLOADED, 429),
        (ErrorCode.DEADLINE_EXCEEDED, 504),
        (ErrorCode.UNAVAILABLE, 503),
        (ErrorCode.CANCELLED, 499),
        (ErrorCode.INTERNAL, 500),
    ],
)
async def test_errors_of_the_server_have_the_status_of_the_table(
    proxy: Proxy, server: ThriftServer, code: int, status: int
) -> None:
    server.answer = refuse(code)
    answer = await proxy.ask("GET", "/predict?doc=x&model=nosuch", headers={"X-Request-Id": "r-1"})
    name = ErrorCode._VALUES_TO_NAMES[code]
    assert answer.status == status
    assert answer.json == {"error": {"code": name, "message": f"refused with {name}", "request_id": "r-1"}}


@pytest.mark.parametrize(
    ("path", "field", "named"),
    [
        ("/predict?doc=x", "doc", "doc"),
        ("/predict?docs=x", "docs[0]", "docs[0]"),
        ("/predict?doc=x", "options.model", "model"),
        ("/reply?message=x", "reply_options.max_replies", "max_replies"),
    ],
)
async def test_errors_of_the_server_name_the_fields_of_the_request(
    proxy: Proxy, server: ThriftServer, path: str, field: str, named: str
) -> None:
    def too_large(*_arguments: Any) -> Any:
        raise PredictionError(ErrorCode.TOO_LARGE, f"{field}: 9 is over 8 (setting s)", None, None, field, "s")

    server.answer = server.predict_batch = server.reply = too_large
    answer = await proxy.ask("GET", path, headers={"X-Request-Id": "r-1"})
    error = {"code": "TOO_LARGE", "message": f"{named}: 9 is over 8 (setting s)", "request_id": "r-1"}
    assert (answer.status, answer.json) == (413, {"error": {**error, "field": named, "setting": "s"}})


@pytest.mark.parametrize(("retry_after_ms", "seconds"), [(1, "1"), (1000, "1"), (1001, "2"), (0, "1"), (None, None)])
async def test_overload_is_429_with_retry_after_in_whole_seconds(
    proxy: Proxy, server: ThriftServer, retry_after_ms: int | None, seconds: str | None
) -> None:
    server.answer = refuse(ErrorCode.OVERLOADED, retry_after_ms)
    for path in ("/?doc=x", "/predict?doc=x"):
        answer = await proxy.ask("GET", path)
        assert (answer.status, answer.headers.get("Retry-After")) == (429, seconds)


async def test_a_method_that_fails_in_the_server_is_500(proxy: Proxy, server: ThriftServer) -> None:
    server.answer = lambda _doc, _options: {}["no such key"]
    answer = await proxy.ask("GET", "/predict?doc=x")
    assert (answer.status, answer.json["error"]["code"]) == (500, "INTERNAL")
    assert (await proxy.ask("GET", "/healthz")).status == 200


async def test_other_methods_are_405(proxy: Proxy) -> None:
    for method in ("PUT", "DELETE"):
        answer = await proxy.ask(method, "/predict?doc=x")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert json.loads(answer.body)["error"]["code"] == "INVALID_ARGUMENT"
