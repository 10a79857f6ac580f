"""openai://HOST:PORT/MODEL."""

from __future__ import annotations

import pytest

from server.errors import ModelError
from server.models.registry import parse_location as name_and_location
from server.upstream.location import is_upstream, parse_location, short_name


@pytest.mark.parametrize(
    ("location", "url", "base", "model"),
    [
        ("openai://localhost:8000/tiny", "http://localhost:8000", "/v1", "tiny"),
        ("openai://10.0.0.1:1/meta-llama/Llama-3.1-8B", "http://10.0.0.1:1", "/v1", "meta-llama/Llama-3.1-8B"),
        ("openai://[::1]:65535/tiny/", "http://[::1]:65535", "/v1", "tiny"),
        ("openai://localhost:8000/v1/tiny", "http://localhost:8000", "/v1", "tiny"),
        ("openais://a.example:443/api/v1/owner/name:free", "https://a.example:443", "/api/v1", "owner/name:free"),
        ("openai://localhost:8000//models/a.gguf", "http://localhost:8000", "/v1", "/models/a.gguf"),
    ],
)
def test_parts_of_a_location(location: str, url: str, base: str, model: str) -> None:
    assert is_upstream(location)
    assert parse_location(location) == (url, base, model)


@pytest.mark.parametrize(
    "location",
    [
        "openai://localhost/tiny",
        "openai://localhost:0/tiny",
        "openai://localhost:65536/tiny",
        "openai://localhost:8000",
        "openai://localhost:8000/",
        "openai://localhost:8000/v1/",
        "openai://user:password@localhost:8000/tiny",
        "openai://localhost:8000/tiny?key=1",
        "openai://localhost:8000/ti ny",
        "openai://:8000/tiny",
    ],
)
def test_what_is_no_location(location: str) -> None:
    with pytest.raises(ModelError, match="is not of the form openai://HOST:PORT/MODEL"):
        parse_location(location)


def test_the_name_is_the_models_own() -> None:
    assert short_name("openai://localhost:8000/owner/name/") == "name"
    assert name_and_location("openai://localhost:1/owner/na:me,server=vllm") == (
        "na-me",
        "openai://localhost:1/owner/na:me,server=vllm",
    )
    assert name_and_location("big=openais://localhost:1/owner/name") == ("big", "openais://localhost:1/owner/name")
