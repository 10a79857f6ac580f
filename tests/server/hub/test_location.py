"""Names of models on the hub."""

from __future__ import annotations

import pytest

from server.errors import ModelError
from server.hub import location as hub


@pytest.mark.parametrize(
    ("location", "name", "revision", "shown"),
    [
        ("hf://BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", "main", "BAAI/bge-small-en-v1.5"),
        ("hf://owner/name@v1.0", "owner/name", "v1.0", "owner/name@v1.0"),
        ("hf://owner/name@refs/pr/3", "owner/name", "refs/pr/3", "owner/name@refs/pr/3"),
        ("hf://gpt2", "gpt2", "main", "gpt2"),
    ],
)
def test_locations(location: str, name: str, revision: str, shown: str) -> None:
    assert hub.is_hub(location)
    model = hub.parse_location(location)
    assert model == (name, revision)
    assert str(model) == shown
    assert hub.short_name(location) == model.short_name == name.rpartition("/")[2]


@pytest.mark.parametrize(
    "location",
    [
        "hf://",
        "hf://owner/",
        "hf:///name",
        "hf://a/b/c",
        "hf://../etc",
        "hf://owner/..",
        "hf://owner/a..b",
        "hf://owner/a--b",
        "hf://owner/name.git",
        "hf://owner/name-",
        "hf://owner/na me",
        "hf://owner/" + "n" * 97,
        "hf://owner/name@",
        "hf://owner/name@../../x",
        "hf://owner/name@a//b",
        "hf://owner/name@a/",
        "hf://owner/name@/a",
        "hf://owner/name@main.lock",
        "hf://owner/name@" + "r" * 256,
        "hf://owner/name\n",
    ],
)
def test_what_is_none(location: str) -> None:
    with pytest.raises(ModelError, match=r"is no name of a .*; expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION"):
        hub.parse_location(location)


def test_another_scheme_is_none() -> None:
    assert not hub.is_hub("owner/name")
    with pytest.raises(ModelError, match="'owner/name' is not of the form hf://OWNER/NAME"):
        hub.parse_location("owner/name")
