"""What a hub says of a model's files is believed only as far as it can be true."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.hub.errors import HubError
from server.hub.files import MOST_FILES, HubFile, listing_of

COMMIT, SHA1, SHA256 = "c" * 40, "a" * 40, "b" * 64


def said(name: Any, size: Any = 3, blob_id: Any = SHA1, lfs: Any = None) -> Any:
    return SimpleNamespace(rfilename=name, size=size, blob_id=blob_id, lfs=lfs)


def test_a_list() -> None:
    large = said("sub/größe (1).bin", lfs=SimpleNamespace(sha256=SHA256, size=7))
    listing = listing_of(COMMIT, [said("config.json"), large])
    assert listing.commit == COMMIT
    assert listing.files == {
        "config.json": HubFile("config.json", 3, SHA1),
        "sub/größe (1).bin": HubFile("sub/größe (1).bin", 7, SHA256),
    }
    assert [file.is_sha256 for file in listing.files.values()] == [False, True]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "a/",
        ".",
        "",
        "a\\..\\b",
        "nul\0",
        "line\nbreak",
        "right\u202eleft",
        "n" * 256,
        "é" * 128,
        "/".join("a" * 17),
        "/".join(["n" * 250] * 5),
    ],
)
def test_a_name_that_leads_elsewhere(name: str) -> None:
    with pytest.raises(HubError, match="can be no file below a model's folder: nothing is fetched"):
        listing_of(COMMIT, [said("config.json"), said(name)])


@pytest.mark.parametrize(
    ("commit", "siblings", "reason"),
    [
        (None, [], "the hub names no commit: 'None'"),
        ("../../x", [], "the hub names no commit"),
        (COMMIT, [said(None)], "a file without a name"),
        (COMMIT, [said("a", size=None)], "the size and the checksum of 'a'"),
        (COMMIT, [said("a", size=-1)], "the size and the checksum of 'a'"),
        (COMMIT, [said("a", blob_id="../x")], "the size and the checksum of 'a'"),
        (COMMIT, [said("a", lfs=SimpleNamespace(sha256=SHA1, size=7))], "the size and the checksum of 'a'"),
        (COMMIT, [said("a/b"), said("a")], "lists 'a' as a file and as a folder"),
        (COMMIT, [said(str(number)) for number in range(MOST_FILES + 1)], "lists more than 10000 files"),
    ],
)
def test_lists_that_are_none(commit: str | None, siblings: list[Any], reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        listing_of(commit, siblings)
