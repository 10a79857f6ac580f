"""The cache is laid out as Hugging Face's libraries expect it, and knows what it has."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import scan_cache_dir, try_to_load_from_cache

from server.hub import store as store_module
from server.hub.errors import HubError
from server.hub.files import HubFile
from server.hub.location import parse
from server.hub.store import ModelStore

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "c" * 40
FILE = HubFile("1_Dense/model.safetensors", 4, hashlib.sha256(b"four").hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "cache", parse("owner/name", "v1/beta"))


def put(store: ModelStore) -> None:
    store.blob(FILE).parent.mkdir(parents=True, exist_ok=True)
    store.blob(FILE).write_bytes(b"four")


def test_the_libraries_find_what_is_linked(store: ModelStore, tmp_path: Path) -> None:
    put(store)
    assert not store.has(COMMIT, FILE)
    for _ in range(2):  # a link that is there is replaced
        store.link(COMMIT, FILE)
    assert store.has(COMMIT, FILE)
    assert store.known_commit() is None
    store.remember(COMMIT)
    assert store.known_commit() == COMMIT
    found = try_to_load_from_cache("owner/name", FILE.name, cache_dir=tmp_path / "cache", revision="v1/beta")
    assert found == str(store.snapshot(COMMIT) / FILE.name)
    (repo,) = scan_cache_dir(tmp_path / "cache").repos
    assert (repo.repo_id, repo.size_on_disk, set(repo.refs)) == ("owner/name", 4, {"v1/beta"})


def test_a_commit_needs_no_reference(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, parse("owner/name", COMMIT))
    assert store.known_commit() == COMMIT
    store.remember(COMMIT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"main", b"\xff", b"../../x"])
def test_a_damaged_reference_is_none(store: ModelStore, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache" / "models--owner--name" / "refs" / "v1" / "beta"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert store.known_commit() is None


def test_a_file_of_another_size_is_not_there(store: ModelStore) -> None:
    put(store)
    store.link(COMMIT, FILE)
    store.blob(FILE).write_bytes(b"three")
    assert not store.has(COMMIT, FILE)


def test_a_cache_without_links(store: ModelStore) -> None:
    """As on disks that have none, or where a cache was copied."""
    assert store.content(COMMIT, FILE) is None
    path = store.snapshot(COMMIT) / FILE.name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"four")
    assert store.content(COMMIT, FILE) == path
    assert store.missing_bytes(COMMIT, [FILE]) == 0
    put(store)
    assert store.content(COMMIT, FILE) == store.blob(FILE)


def test_missing_bytes(store: ModelStore) -> None:
    assert store.missing_bytes(COMMIT, [FILE, FILE._replace(name="a copy")]) == 4
    store.blob(FILE).parent.mkdir(parents=True)
    store.partial(FILE).write_bytes(b"fou")
    assert store.missing_bytes(COMMIT, [FILE]) == 1
    put(store)
    assert store.missing_bytes(COMMIT, [FILE]) == 0


def test_no_room_on_the_disk(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000))
    store.require_space(900_000_000)
    with pytest.raises(HubError) as caught:
        store.require_space(2_500_000_000)
    assert str(caught.value) == (
        f"2.500 GB are to be fetched, and the disk of {tmp_path / 'cache'} has 1.000 GB left (setting hub_cache)"
    )
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    store.require_space(0)
