"""smls's POST /embed, row by row of the compatibility table, and the fields and answers of our own."""

from __future__ import annotations

import json
import struct
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData
from predictor.ttypes import EmbeddingMatrix, EmbedOptions, Lane, RequestOptions

from rest_proxy.http.errors import HttpError
from rest_proxy.routes.embeddings import texts_of
from tests.rest_proxy.thrift_server import ThriftServer, vector

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy

HELLO = ["Hello world!", "How are you today?"]
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


# ------------------------------------------------------------------------------------------------ smls, row by row


async def test_smls_a_list_in_json_in_a_form_gives_two_vectors(proxy: Proxy, server: ThriftServer) -> None:
    out = await proxy.curl("-d", 'message=["Hello world!", "How are you today?"]', "URL/embed")
    assert out == '{"embeddings":[[0.1,12.0,-1e-9],[0.1,18.0,-1e-9]]}\n'
    assert texts(server) == HELLO


@pytest.mark.parametrize("message", ["Hello world!", ""])
async def test_smls_a_text_gives_one_vector_and_so_does_none(proxy: Proxy, server: ThriftServer, message: str) -> None:
    for body in ({"data": {"message": message}}, {"json": {"message": message}}):
        answer = await proxy.ask("POST", "/embed", **body)
        assert (answer.status, answer.json) == (200, vectors(message))
        assert texts(server) == [message]
        server.calls.clear()


async def test_smls_a_json_body_with_a_list_in_json(proxy: Proxy, server: ThriftServer) -> None:
    answer = await embed(proxy, message='["Hello world!", "How are you today?"]')
    assert answer.json == vectors(*HELLO)
    assert texts(server) == HELLO


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("['Hello world!', 'How are you today?']", HELLO),
        (" [ 'a' ,\"b'c\" , ] ", ["a", "b'c"]),
        (r"['it\'s', 'a\nb', 'Z\u00fcrich', '\d']", ["it's", "a\nb", "Zürich", r"\d"]),
        ("[\"a\", 'b']", ["a", "b"]),
        ("[]", []),
    ],
)
async def test_smls_better_a_list_with_single_quotes(
    proxy: Proxy, server: ThriftServer, message: str, wanted: list[str]
) -> None:
    answer = await proxy.ask("POST", "/embed", data={"message": message})
    assert answer.json == vectors(*wanted)
    assert [given for given, _, _ in server.named("embed_matrix")] == ([wanted] if wanted else [])


@pytest.mark.parametrize(
    "message",
    [
        "[hello",
        "[hello]",
        "['a",
        "['a' 'b']",
        "['a', b]",
        "['a'] and more",
        r"['\x']",
        "['a', __import__('os')]",
        "[" * 9000,
        '"hello"',
        '{"a": 1}',
        "17",
        "null",
        "'a', 'b'",
        "['" + "\\" * 9001 + "']",
        "['a\nb']",
        "['a\0b']",
    ],
)
async def test_smls_what_is_no_list_of_texts_is_one_text(proxy: Proxy, server: ThriftServer, message: str) -> None:
    answer = await proxy.ask("POST", "/embed", data={"message": message})
    assert answer.json == vectors(message)
    assert texts(server) == [message]


async def test_smls_better_a_json_body_with_a_real_list(proxy: Proxy, server: ThriftServer) -> None:
    answer = await embed(proxy, message=HELLO)
    assert answer.json == vectors(*HELLO)
    assert texts(server) == HELLO


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "give either message, text or texts"),
        ({"message": None}, "give either message, text or texts"),
        ({"message": "a", "text": "b"}, "give either message, text or texts"),
        ({"text": "a", "texts": ["b"]}, "give either message, text or texts"),
        ({"message": 1}, "field 'message': Input should be a string or a list of strings"),
        ({"message": {"a": "b"}}, "field 'message': Input should be a string or a list of strings"),
        ({"message": ["a", 1]}, "field 'message': item 1 is not a string"),
        ({"message": ["a", None]}, "field 'message': item 1 is not a string"),
        ({"message": '["a", 1]'}, "message[1] is not a string"),
        ({"message": "[[]]"}, "message[0] is not a string"),
        ({"text": 1}, "field 'text': Input should be a valid string"),
        ({"texts": ["a", 1]}, "field 'texts[1]': Input should be a valid string"),
        ({"texts": "a"}, "field 'texts': Input should be a valid array"),
        ({"text": "a", "truncate": "no"}, "field 'truncate': Input should be a valid boolean"),
        ({"text": "a", "x": 1}, "field 'x': Extra inputs are not permitted"),
        (["a"], "Input should be an object"),
    ],
)
async def test_smls_better_a_missing_or_wrong_message_is_400(
    proxy: Proxy, server: ThriftServer, body: Any, message: str
) -> None:
    answer = await proxy.ask("POST", "/embed", json=body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.json["error"]["message"] == message
    assert server.calls == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "nonsense"])
async def test_smls_better_a_wrong_content_type_is_415(proxy: Proxy, content_type: str) -> None:
    answer = await proxy.ask("POST", "/embed", data=b"message=a", headers={"Content-Type": content_type})
    assert (answer.status, answer.json["error"]["code"]) == (415, "INVALID_ARGUMENT")


@pytest.mark.parametrize("body", [b"", b"x=1", b"message"])
async def test_smls_better_a_form_without_message_is_400(proxy: Proxy, body: bytes) -> None:
    answer = await proxy.ask("POST", "/embed", data=body, headers=FORM)
    assert answer.status == (400 if body != b"message" else 200)


# --------------------------------------------------------------------------------------------------- our own fields


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
    assert answer.json["error"]["message"] == f"{next(iter(fields))} has 3 items, over 2 (setting max_docs)"
    assert server.calls == []


async def test_a_list_with_single_quotes_of_too_many_texts_is_413(proxy: Proxy, server: ThriftServer) -> None:
    answer = await embed(proxy, message="[" + "'a'," * 1025 + "]")
    assert (answer.status, answer.json["error"]["message"]) == (413, "message has over 1024 items (setting max_docs)")
    assert server.calls == []


def test_no_list_with_single_quotes_takes_long_to_read() -> None:
    began = time.process_time()
    spaces = "['a'" + " " * 60_000
    assert texts_of(spaces, 1024) == [spaces]
    with pytest.raises(HttpError):
        texts_of("[" + "'a'," * 400_000 + "]", 1024)
    assert time.process_time() - began < 1  # 6 s, were each space looked at with each and every text read


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
    answer = await proxy.ask("POST", "/embed", data=BytesIO(body), headers=JSON)
    assert answer.status == 413
    assert answer.json["error"]["message"] == "the body is over 1048576 bytes (setting max_body_bytes)"
    larger = await new_proxy(server, max_body_bytes=1 << 21)
    answer = await larger.ask("POST", "/embed", data=BytesIO(body), headers=JSON)
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
