"""smls's POST /embed, row by row of the compatibility table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from rest_proxy.compat.smls import texts_of
from rest_proxy.http.errors import HttpError
from tests.rest_proxy.routes.test_embeddings import FORM, embed, texts, vectors

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

HELLO = ["Hello world!", "How are you today?"]


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
        ({"message": 1}, "message: expected a string or a list of strings, got a number"),
        ({"message": {"a": "b"}}, "message: expected a string or a list of strings, got an object"),
        ({"message": ["a", 1]}, "message[1]: expected a string, got a number"),
        ({"message": ["a", None]}, "message[1]: expected a string, got null"),
        ({"message": '["a", 1]'}, "message[1]: expected a string, got a number"),
        ({"message": "[[]]"}, "message[0]: expected a string, got a list"),
        ({"text": 1}, "text: expected a string, got a number"),
        ({"texts": ["a", 1]}, "texts[1]: expected a string, got a number"),
        ({"texts": "a"}, "texts: expected a list, got 'a'"),
        ({"text": "a", "truncate": "no"}, "truncate: expected true or false, got 'no'"),
        ({"text": "a", "x": 1}, "x: there is no such field"),
        (["a"], "expected an object, got a list"),
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


async def test_a_list_with_single_quotes_of_too_many_texts_is_413(proxy: Proxy, server: ThriftServer) -> None:
    answer = await embed(proxy, message="[" + "'a'," * 2049 + "]")
    assert (answer.status, answer.json["error"]["message"]) == (
        413,
        "message: more items than the limit of 2048 (setting max_docs)",
    )
    assert server.calls == []


def test_no_list_with_single_quotes_takes_long_to_read() -> None:
    started = time.process_time()
    spaces = "['a'" + " " * 60_000
    assert texts_of(spaces, 1024) == spaces
    with pytest.raises(HttpError):
        texts_of("[" + "'a'," * 400_000 + "]", 1024)
    assert time.process_time() - started < 1  # 6 s, were each space looked at with each and every text read
