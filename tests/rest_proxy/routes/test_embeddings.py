"""/embed: the fields and answers of our own; those of smls are in compat/test_smls.py."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData
from predictor.ttypes import EmbeddingMatrix, EmbedOptions, ErrorCode, Lane, PredictionError, RequestOptions

from tests.rest_proxy.thrift_server import ThriftServer, vector

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def texts(server: ThriftServer) -> list[str]:
    """The texts that reached the server, in one call."""
    [(given, _, _)] = server.named("embed_matrix")
    return given


def vectors(*given: str) -> dict[str, Any]:
    return {"embeddings": [vector(text) for text in given]}


async def embed(proxy: Proxy, **fields: Any) -> Answer:
    return await proxy.ask("POST", "/embed", json=fields)


async def test_text_is_taken_as_it_is(proxy: Proxy, server: ThriftServer) -> None:
    assert (await embed(proxy, text='["a", "b"]')).json == vectors('["a", "b"]')
    assert texts(server) == ['["a", "b"]']


@pytest.mark.parametrize("form", ["query", "form", "multipart", "JSON"])
async def test_several_texts_with_options_in_every_form(proxy: Proxy, server: ThriftServer, form: str) -> None:
    options = {"model": "minilm", "timeout_ms": 1234, "lane": "bulk", "truncate": False}
    pairs = [("texts", "a"), ("texts", ""), *((name, str(value)) for name, value in options.items())]
    request: dict[str, tuple[str, dict[str, Any]]] = {
        "query": ("GET", {"params": pairs}),
        "form": ("POST", {"data": FormData(pairs)}),
        "multipart": ("POST", {"data": FormData(pairs, default_to_multipart=True)}),
        "JSON": ("POST", {"json": {"texts": ["a", ""], **options}}),
    }
    method, body = request[form]
    answer = await proxy.ask(method, "/embed", headers={"X-Request-Id": "r-1"}, **body)
    assert answer.json == vectors("a", "")
    wanted = (["a", ""], RequestOptions("minilm", 1234, Lane.BULK, "r-1"), EmbedOptions(False))
    assert server.named("embed_matrix") == [wanted]


async def test_no_texts_give_no_vectors(proxy: Proxy, server: ThriftServer) -> None:
    assert (await embed(proxy, texts=[])).json == {"embeddings": []}
    assert server.calls == []


async def test_a_binary_answer_is_the_bare_numbers(proxy: Proxy) -> None:
    headers = {"Accept": "application/octet-stream"}
    answer = await proxy.ask("POST", "/embed", json={"texts": ["a", "bb"]}, headers=headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert (answer.headers["X-Rows"], answer.headers["X-Columns"]) == ("2", "3")
    assert answer.body == struct.pack("<6f", *vector("a"), *vector("bb"))
    answer = await proxy.ask("POST", "/embed", json={"texts": []}, headers=headers)
    assert (answer.headers["X-Rows"], answer.headers["X-Columns"], answer.body) == ("0", "0", b"")


async def test_numbers_that_json_does_not_have_are_null(proxy: Proxy, server: ThriftServer) -> None:
    numbers = struct.pack("<3f", float("nan"), float("inf"), 0.5)
    server.embed_matrix = lambda *_arguments: EmbeddingMatrix(1, 3, numbers)
    assert (await embed(proxy, text="a")).json == {"embeddings": [[None, None, 0.5]]}


@pytest.mark.parametrize("matrix", [(2, 3, b"\0" * 24), (1, 3, b"\0" * 11), (1, -1, b"")])
async def test_a_matrix_that_is_none_is_500(proxy: Proxy, server: ThriftServer, matrix: tuple[Any, ...]) -> None:
    server.embed_matrix = lambda *_arguments: EmbeddingMatrix(*matrix)
    answer = await embed(proxy, text="a")
    assert (answer.status, answer.json["error"]["code"]) == (500, "INTERNAL")


@pytest.mark.parametrize("fields", [{"texts": ["a"] * 3}, {"message": ["a"] * 3}, {"message": '["a", "a", "a"]'}])
async def test_too_many_texts_are_413(new_proxy: Any, server: ThriftServer, fields: dict[str, Any]) -> None:
    answer = await embed(await new_proxy(server, max_docs=2), **fields)
    assert answer.status == 413
    assert (
        answer.json["error"]["message"] == f"{next(iter(fields))}: 3 items are over the limit of 2 (setting max_docs)"
    )
    assert server.calls == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"text":"\xff"}', "application/json"),
        (b'{"text":"\\ud800"}', "application/json"),
        (b"message=%FF", FORM["Content-Type"]),
        (b"message=\xff", FORM["Content-Type"]),
        (rb"message=['\ud800']", FORM["Content-Type"]),
    ],
)
async def test_text_that_is_no_unicode_is_400(
    proxy: Proxy, server: ThriftServer, body: bytes, content_type: str
) -> None:
    answer = await proxy.ask("POST", "/embed", data=body, headers={"Content-Type": content_type})
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert server.calls == []


async def test_a_text_of_one_megabyte(proxy: Proxy, new_proxy: Any, server: ThriftServer) -> None:
    body = json.dumps({"text": "a" * (1 << 20)}).encode()
    smaller = await new_proxy(server, max_body_bytes=1 << 20)
    answer = await smaller.ask("POST", "/embed", data=BytesIO(body), headers=JSON)
    assert answer.status == 413
    assert answer.json["error"]["message"] == "the body is over 1048576 bytes (setting max_body_bytes)"
    answer = await proxy.ask("POST", "/embed", data=BytesIO(body), headers=JSON)
    assert answer.json["embeddings"][0][1] == 1 << 20


@pytest.mark.parametrize("accept", ["application/json", "application/octet-stream"])
async def test_an_answer_of_some_megabytes(proxy: Proxy, server: ThriftServer, accept: str) -> None:
    rows, columns = 1000, 1000
    server.embed_matrix = lambda *_arguments: EmbeddingMatrix(rows, columns, struct.pack("<f", 0.25) * rows * columns)
    answer = await proxy.ask("POST", "/embed", json={"texts": ["a"] * rows}, headers={"Accept": accept})
    assert answer.status == 200
    if answer.json:
        assert answer.json == {"embeddings": [[0.25] * columns] * rows}
    else:
        assert answer.body == struct.pack("<f", 0.25) * rows * columns


@pytest.mark.parametrize(
    ("fields", "field", "named"),
    [
        ({"text": "a"}, "texts[0]", "text"),
        ({"texts": ["a"]}, "texts[0]", "texts[0]"),
        ({"texts": ["a", "b"]}, "texts[1]", "texts[1]"),
        ({"message": "a"}, "texts[0]", "message"),
        ({"message": '["a", "b"]'}, "texts[1]", "message[1]"),
        ({"text": "a"}, "options.lane", "lane"),
        ({"texts": ["a", "b"]}, "texts", "texts"),
    ],
)
async def test_errors_of_the_server_name_the_fields_of_the_request(
    proxy: Proxy, server: ThriftServer, fields: dict[str, Any], field: str, named: str
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise PredictionError(ErrorCode.TOO_LARGE, f"{field}: too long", field=field)

    server.embed_matrix = refuse
    answer = await embed(proxy, **fields)
    error = answer.json["error"]
    assert (answer.status, error["field"], error["message"]) == (413, named, f"{named}: too long")
