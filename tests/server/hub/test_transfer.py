"""Files come whole and right or not at all, whatever happens on the way; a further try goes on where the last ended."""

from __future__ import annotations

import errno
import hashlib
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
from huggingface_hub.utils import WeakFileLock

from server.hub import store as store_module
from server.hub.client import Hub
from server.hub.errors import HashError, HubError, HubUnavailableError
from server.hub.location import parse
from server.hub.progress import Progress
from server.hub.stop import Stop
from server.hub.store import ModelStore
from server.hub.transfer import Transfer
from tests.support.hub import BROKEN, BUSY, CUT, EXPIRED, STALLED, WHOLE, WRONG, git_digest
from tests.support.service import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from server.hub.files import HubFile
    from tests.support.hub import LocalHub, Served

LARGE, SMALL, EMPTY = "model.safetensors", "config.json", "merges.txt"
SIZE = 3_000_000


@pytest.fixture
def served(hub: LocalHub, tmp_path: Path) -> Served:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / LARGE).write_bytes(hashlib.shake_128(b"seed").digest(SIZE))
    (folder / SMALL).write_text('{"model_type": "bert"}')
    (folder / EMPTY).write_bytes(b"")
    return hub.add("owner/name", folder)


class Tried:
    """One try to fetch files."""

    def __init__(self, tmp_path: Path) -> None:
        model = parse("owner/name")
        self.stop = Stop()
        self.told: list[tuple[int, int]] = []
        self.progress = Progress(lambda progress: self.told.append((progress.done, progress.total)), every_s=0)
        self.store = ModelStore(tmp_path / "cache", model)
        self.listing = Hub().listing(model, self.stop)
        self.transfer = Transfer(Hub(), model, self.listing.commit, self.store, self.stop, self.progress)

    def file(self, name: str) -> HubFile:
        return self.listing.files[name]

    def fetch(self, *names: str) -> None:
        self.transfer.fetch([self.file(name) for name in names])

    def content(self, name: str) -> bytes:
        return self.store.blob(self.file(name)).read_bytes()


def test_each_is_named_by_its_checksum(served: Served, hub: LocalHub, tmp_path: Path) -> None:
    tried = Tried(tmp_path)
    tried.fetch(LARGE, SMALL, EMPTY)
    for name in (LARGE, SMALL, EMPTY):
        assert tried.content(name) == (served.folder / name).read_bytes()
    assert tried.file(LARGE).digest == hashlib.sha256((served.folder / LARGE).read_bytes()).hexdigest()
    assert tried.file(SMALL).digest == git_digest((served.folder / SMALL).read_bytes())
    assert tried.told[-1] == (tried.progress.total, tried.progress.total)
    assert tried.progress.total == SIZE + len(tried.content(SMALL))
    assert tried.progress.bytes_per_s > 0
    assert hub.asked_for(EMPTY) == []  # there is nothing in it to ask for
    before = len(hub.asked)
    again = Tried(tmp_path)
    again.fetch(LARGE, SMALL, EMPTY)
    assert (len(hub.asked), again.progress.total) == (before + 1, 0)  # the list alone


@pytest.mark.parametrize(
    ("faults", "parts"),
    [
        ([CUT], ["", f"bytes={SIZE // 2}-"]),
        ([CUT, CUT, CUT, CUT, CUT], ["", f"bytes={SIZE // 2}-", f"bytes={SIZE * 3 // 4}-"]),
        ([BROKEN, BUSY], ["", "", ""]),
        ([CUT, BUSY, CUT], ["", f"bytes={SIZE // 2}-", f"bytes={SIZE // 2}-"]),
        ([CUT, WHOLE], ["", f"bytes={SIZE // 2}-"]),
        ([EXPIRED, CUT, EXPIRED], ["", "", f"bytes={SIZE // 2}-", f"bytes={SIZE // 2}-"]),
    ],
)
def test_what_breaks_off_is_resumed(
    served: Served, hub: LocalHub, tmp_path: Path, faults: list[str], parts: list[str]
) -> None:
    served.faults[LARGE] = list(faults)
    tried = Tried(tmp_path)
    tried.fetch(LARGE)
    assert tried.content(LARGE) == (served.folder / LARGE).read_bytes()
    asked = [line.partition(LARGE)[2].strip() for line in hub.asked_for(LARGE)]
    assert asked[: len(parts)] == parts
    assert len(asked) == len(faults) + (WHOLE not in faults)
    assert tried.progress.done == tried.progress.total == SIZE


def test_a_store_that_refuses(served: Served, hub: LocalHub, tmp_path: Path) -> None:
    """It is not the model that is refused."""
    served.faults[LARGE] = [EXPIRED] * 4
    with pytest.raises(HubUnavailableError, match=f"the store to which the hub sends for {LARGE} answers 403"):
        Tried(tmp_path).fetch(LARGE)
    assert len(hub.asked_for(LARGE)) == 4, "each try asks the hub for another address"


def test_another_process_goes_on_where_one_gave_up(served: Served, hub: LocalHub, tmp_path: Path) -> None:
    served.faults[LARGE] = [CUT, *[BROKEN] * 4]
    tried = Tried(tmp_path)
    with pytest.raises(HubUnavailableError, match=r"the hub at .* broke off: "):
        tried.fetch(LARGE)
    assert not tried.store.blob(tried.file(LARGE)).exists()
    assert tried.store.partial(tried.file(LARGE)).stat().st_size == SIZE // 2
    hub.asked.clear()
    again = Tried(tmp_path)
    again.fetch(LARGE)
    assert hub.asked_for(LARGE)[0].endswith(f"{LARGE} bytes={SIZE // 2}-")
    assert again.content(LARGE) == (served.folder / LARGE).read_bytes()
    assert again.progress.total == SIZE - SIZE // 2
    assert not again.store.partial(again.file(LARGE)).exists()


def test_the_token_is_the_hubs_alone(
    served: Served, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.token = "right"
    monkeypatch.setenv("HF_TOKEN", "right")
    tried = Tried(tmp_path)
    tried.fetch(LARGE)
    assert tried.content(LARGE) == (served.folder / LARGE).read_bytes()
    assert hub.tokens == []


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_wrong_bytes_are_thrown_away(served: Served, tmp_path: Path, name: str) -> None:
    served.faults[name] = [WRONG]
    tried = Tried(tmp_path)
    kind = "SHA-256" if name == LARGE else "git's checksum"
    with pytest.raises(HashError, match=rf"{name}: what came is not what the hub lists \({kind} [0-9a-f]+, expected"):
        tried.fetch(name)
    assert list(tried.store.blob(tried.file(name)).parent.iterdir()) == []


@pytest.mark.parametrize("beginning", [b"\0" * 1000, b"\0" * SIZE, b"\0" * (SIZE + 1)])
def test_a_damaged_beginning_is_fetched_again(served: Served, tmp_path: Path, beginning: bytes) -> None:
    tried = Tried(tmp_path)
    partial = tried.store.partial(tried.file(LARGE))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(beginning)
    tried.fetch(LARGE)
    assert tried.content(LARGE) == (served.folder / LARGE).read_bytes()


def test_a_damaged_beginning_and_wrong_bytes_after_it(served: Served, tmp_path: Path) -> None:
    tried = Tried(tmp_path)
    partial = tried.store.partial(tried.file(LARGE))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"\0")
    served.faults[LARGE] = [WRONG, WRONG]
    with pytest.raises(HashError):
        tried.fetch(LARGE)
    assert not partial.exists()


def test_a_file_longer_than_listed(served: Served, tmp_path: Path) -> None:
    tried = Tried(tmp_path)
    with (served.folder / LARGE).open("ab") as file:
        file.write(b"more")
    with pytest.raises(HashError, match=f"longer than the {SIZE} bytes that the hub lists"):
        tried.fetch(LARGE)


def test_a_file_shorter_than_listed(served: Served, tmp_path: Path) -> None:
    tried = Tried(tmp_path)
    (served.folder / SMALL).write_text("{}")
    with pytest.raises(HubError, match=r"answers 416 to config.json|ended after 2 of"):
        tried.fetch(SMALL)


def test_a_file_that_is_listed_and_not_given(served: Served, tmp_path: Path) -> None:
    tried = Tried(tmp_path)
    (served.folder / SMALL).unlink()
    with pytest.raises(HubError, match=r"the hub lists config.json, but does not give it \(status 404\)"):
        tried.fetch(SMALL)


def test_one_failure_ends_the_others(served: Served, tmp_path: Path) -> None:
    served.faults = {SMALL: [WRONG], LARGE: [STALLED]}
    tried = Tried(tmp_path)
    eventually_gone = threading.Timer(0.3, served.go_on.set)
    eventually_gone.start()
    with pytest.raises(HashError):
        tried.fetch(LARGE, SMALL)
    assert not tried.store.blob(tried.file(LARGE)).exists()
    eventually_gone.join()


def test_a_stop_ends_a_download_and_what_came_is_kept(served: Served, tmp_path: Path) -> None:
    served.faults[LARGE] = [STALLED]
    tried = Tried(tmp_path)
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            tried.fetch(LARGE)
        except HubUnavailableError as error:
            failures.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    eventually(lambda: tried.progress.done >= SIZE // 2, "half of it is there")
    tried.stop.set("the server is draining")
    served.go_on.set()
    thread.join()
    assert str(failures[0]) == "the server is draining"
    assert tried.store.partial(tried.file(LARGE)).stat().st_size >= SIZE // 2
    Tried(tmp_path).fetch(LARGE)


def test_a_full_disk(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(tmp_path)

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tried.progress, "add", full)  # where a piece has just been written
    with pytest.raises(HubError, match=r"the disk of .*cache is full; the next try goes on from here \(setting hub_"):
        tried.fetch(LARGE)
    tried = Tried(tmp_path)
    monkeypatch.setattr(tried.progress, "add", lambda _: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    with pytest.raises(PermissionError):
        tried.fetch(LARGE)


def test_two_processes_fetch_a_file_once(
    served: Served, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_S", 0.05)
    tried = Tried(tmp_path)
    lock = tmp_path / "cache" / ".locks" / "models--owner--name" / f"{tried.file(LARGE).digest}.lock"
    lock.parent.mkdir(parents=True)
    blob = tried.store.blob(tried.file(LARGE))
    with WeakFileLock(lock):
        thread = threading.Thread(target=tried.fetch, args=(LARGE,))
        thread.start()
        eventually(blob.parent.exists, "it waits for the lock")
        blob.write_bytes((served.folder / LARGE).read_bytes())
    thread.join()
    assert hub.asked_for(LARGE) == []
    assert tried.content(LARGE) == (served.folder / LARGE).read_bytes()


def test_who_waits_for_another_process_can_be_stopped(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_S", 0.05)
    tried = Tried(tmp_path)
    lock = tmp_path / "cache" / ".locks" / "models--owner--name" / f"{tried.file(LARGE).digest}.lock"
    lock.parent.mkdir(parents=True)
    threading.Timer(0.2, tried.stop.set).start()
    with WeakFileLock(lock), pytest.raises(HubUnavailableError, match="the next one goes on from there"):
        tried.fetch(LARGE)
