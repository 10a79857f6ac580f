"""/embed with its options, /embed_sparse, /embed_tokens and OpenAI's embeddings, of a model that can do all."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.support.letters import vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rest_proxy.conftest import Proxy

TEXTS = ["aabbcd", "ab"]


@pytest.fixture
async def client(of_letters: Proxy) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client."""
    async with AsyncOpenAI(base_url=f"{of_letters.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def embeddings(proxy: Proxy, path: str = "/embed", **fields: Any) -> Any:
    return (await proxy.ask("POST", path, json=fields)).json["embeddings"]


def near(*vectors: Any) -> Any:
    return [pytest.approx(list(vector), abs=1e-6) for vector in vectors]


async def test_options_of_vectors(of_letters: Proxy) -> None:
    own = vector_of("aabbcd")
    short = own[:2] / np.linalg.norm(own[:2])
    for fields, wanted in (
        ({"dimensions": 2}, short),
        ({"dimensions": 2, "normalize": False}, own[:2]),
        ({"prompt": "gg"}, vector_of("ggaabbcd")),
        ({"prompt_name": "query"}, vector_of("aaaabbcd")),
        ({"split": True}, own),
    ):
        assert await embeddings(of_letters, text="aabbcd", **fields) == near(wanted)
    assert await embeddings(of_letters, texts=TEXTS, encoding="binary") == [[0b11110000], [0b11000000]]
    numbers = await embeddings(of_letters, texts=TEXTS, encoding="int8", dimensions=3)
    assert numbers == [[127, 127, 64], [127, 127, 0]]
    assert all(type(number) is int for row in numbers for number in row)


@pytest.mark.parametrize(
    ("encoding", "body", "columns"),
    [("int8", bytes([127, 127, 64, 127, 127, 0]), "3"), ("binary", bytes([0b11100000, 0b11000000]), "3")],
)
async def test_bytes_of_an_encoding(of_letters: Proxy, encoding: str, body: bytes, columns: str) -> None:
    fields = {"texts": TEXTS, "encoding": encoding, "dimensions": 3}
    answer = await of_letters.ask("POST", "/embed", json=fields, headers={"Accept": "application/octet-stream"})
    assert (answer.body, answer.headers["X-Rows"], answer.headers["X-Columns"]) == (body, "2", columns)


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"text": "a", "dimensions": 9}, "dimensions", "must lie between 1 and 8, got 9"),
        ({"text": "a", "dimensions": 0}, "dimensions", "must be at least 1"),
        ({"text": "a", "encoding": "ubinary"}, "encoding", "expected 'float32', 'int8' or 'binary'"),
        ({"text": "a", "truncation_side": "left"}, "truncation_side", "does not take this option"),
        ({"text": "a", "prompt": "b", "prompt_name": "c"}, "prompt", "give this or prompt_name"),
        ({"text": "a" * 21, "truncate": False}, "text", "truncate is false"),
        ({"texts": ["a", "nan"]}, "texts[1]", "the model 'letters' gave numbers that are NaN or infinite"),
    ],
)
async def test_refusals(of_letters: Proxy, fields: Any, field: str, part: str) -> None:
    error = (await of_letters.ask("POST", "/embed", json=fields)).json["error"]
    assert error["field"] == field, error
    assert part in error["message"]


async def test_sparse_vectors(of_letters: Proxy) -> None:
    sparse = await embeddings(of_letters, "/embed_sparse", texts=["abbb", ""])
    assert sparse == [{"indices": [97, 98], "values": [1.0, 3.0]}, {"indices": [], "values": []}]
    sparse = await embeddings(of_letters, "/embed_sparse", text="abbb", max_active_dims=1, tokens=True, prompt="cccc")
    assert sparse == [{"indices": [99], "values": [4.0], "tokens": ["c"]}]


async def test_vectors_of_tokens(of_letters: Proxy) -> None:
    first, second, none = await embeddings(of_letters, "/embed_tokens", texts=["aa bc", "d", ""])
    assert first == near(vector_of("aa"), vector_of("bc"))
    assert (second, none) == (near(vector_of("d")), [])
    (only,) = await embeddings(of_letters, "/embed_tokens", text="ab", encoding="binary")
    assert only == [[0b11000000]]


# ------------------------------------------------------------------------------------------------------------- OpenAI


async def test_openai_token_ids(client: AsyncOpenAI) -> None:
    for given, texts in (([0, 0, 1], ["aab"]), ([[0, 0, 1], [7]], ["aab", "h"])):
        answer = await client.embeddings.create(model="letters", input=given, encoding_format="float")
        assert [item.embedding for item in answer.data] == near(*map(vector_of, texts))
        assert answer.usage.prompt_tokens == sum(map(len, texts))


async def test_openai_dimensions_and_encodings(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="letters", input="aabbcd", dimensions=2)
    assert answer.data[0].embedding == pytest.approx([0.5**0.5] * 2)
    answer = await client.embeddings.create(
        model="letters", input=TEXTS, encoding_format="base64", extra_body={"encoding": "int8", "dimensions": 3}
    )
    assert [list(base64.b64decode(str(item.embedding))) for item in answer.data] == [[127, 127, 64], [127, 127, 0]]


async def test_openai_fields_that_are_not_known_are_not_read(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(
        model="letters", input="ab", user="me", extra_body={"input_type": "query", "safety_identifier": "x"}
    )
    assert answer.data[0].embedding == pytest.approx(vector_of("ab").tolist())


async def test_as_many_texts_as_openai_allows(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="letters", input=["ab" * 500] * 2048)
    assert len(answer.data) == 2048
