"""Object stores, against servers that speak their protocols."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import pytest
from structlog.testing import CapturingLogger

from server.batch.storage.access import Storage
from server.batch.storage.backends.backend import BLOCK_BYTES
from server.batch.storage.errors import LocationError, StorageError
from server.batch.storage.locations import InputFile
from tests.support.stores import GcsBucket, Refusing, S3Bucket, read_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Bucket

# what fsspec sends, it sends from a thread of its own, where nobody else waits
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

BIG = bytes(range(256)) * (BLOCK_BYTES // 256) + b"and 5"  # more than one block, and no whole number of them


@pytest.fixture
def storage(bucket: Bucket) -> Storage:
    return Storage(buckets=[bucket.location])


def test_everything_below_a_prefix_is_listed_and_nothing_beside_it(bucket: Bucket, storage: Storage) -> None:
    for path in ("in/b.json", "in/sub/c.json", "in/a.json", "in-old/x.json", "in/.hidden", "in/sub/.git/x", "in/dir/"):
        bucket.put(path, path.encode())

    found = storage.list_inputs(f"{bucket.location}in/")

    assert found == [
        InputFile(f"{bucket.location}in/{relative}", relative, len(f"in/{relative}"))
        for relative in ("a.json", "b.json", "sub/c.json")
    ]


def test_a_prefix_is_not_mixed_up_with_a_longer_name(bucket: Bucket, storage: Storage) -> None:
    bucket.put("in/a", b"1")
    bucket.put("in/ab", b"2")
    bucket.put("in/a/b", b"3")

    assert [file.relative for file in storage.list_inputs(f"{bucket.location}in/a/")] == ["b"]
    assert [file.location for file in storage.list_inputs(f"{bucket.location}in/a")] == [f"{bucket.location}in/a"]
    with pytest.raises(StorageError, match="has no files below it"):
        storage.list_inputs(f"{bucket.location}in/ab/")
    with pytest.raises(StorageError, match="cannot be read: there is no such file"):
        storage.list_inputs(f"{bucket.location}i")


def test_a_whole_bucket_is_listed(bucket: Bucket, storage: Storage) -> None:
    bucket.put("a", b"1")
    bucket.put("b/c", b"2")
    assert [file.relative for file in storage.list_inputs(bucket.location)] == ["a", "b/c"]


def test_new_files_are_listed_and_deleted_ones_are_not(bucket: Bucket, storage: Storage) -> None:
    bucket.put("in/a", b"1")
    storage.list_inputs(f"{bucket.location}in/")
    bucket.put("in/b", b"1")
    assert len(storage.list_inputs(f"{bucket.location}in/")) == 2


@pytest.mark.parametrize("content", [b"", b"line\n", BIG], ids=["empty", "small", "big"])
def test_what_is_committed_is_there_and_reads_the_same(bucket: Bucket, storage: Storage, content: bytes) -> None:
    location = f"{bucket.location}out/sub/a b%.json"
    assert not storage.exists(location)

    with storage.create(location) as output:
        for start in range(0, len(content), 1_000_003):
            output.write(content[start : start + 1_000_003])
        assert bucket.paths() == []
        output.commit()

    assert bucket.contents() == {"out/sub/a b%.json": content}
    assert storage.exists(location)
    assert storage.size(location) == len(content)
    with storage.open_input(location) as file:
        assert file.read() == content
        assert file.seekable()
        file.seek(len(content) // 2)
        assert file.read() == content[len(content) // 2 :]


@pytest.mark.parametrize("size", [len(2 * BIG), len(BIG), len(3 * BIG)], ids=["as long", "shorter", "longer"])
def test_an_object_that_is_replaced_while_it_is_read(bucket: Bucket, storage: Storage, size: int) -> None:
    location = bucket.put("in/a", 2 * BIG)
    with storage.open_input(location) as file:
        assert file.read(100) == BIG[:100]
        bucket.put("in/a", b"x" * size)
        with pytest.raises(StorageError, match=f"{location} cannot be read: "):
            file.read()


@pytest.mark.parametrize("content", [b"", b"line\n", BIG], ids=["empty", "small", "big"])
def test_what_is_not_committed_is_not_there(bucket: Bucket, storage: Storage, content: bytes) -> None:
    with storage.create(f"{bucket.location}a") as output:
        output.write(content)
    with contextlib.suppress(KeyError), storage.create(f"{bucket.location}b") as output:
        output.write(content)
        raise KeyError
    gc.collect()  # finalizers of the libraries' files must not write either
    assert bucket.paths() == []
    if isinstance(bucket, S3Bucket):
        assert bucket.unfinished_uploads() == 0


def test_an_old_result_stays_until_the_new_one_is_whole(bucket: Bucket, storage: Storage) -> None:
    location = bucket.put("a", b"old")
    with storage.create(location) as output:
        output.write(BIG)
        assert bucket.get("a") == b"old"
        output.commit()
    assert bucket.get("a") == BIG


def test_an_output_that_was_committed_is_finished(bucket: Bucket, storage: Storage) -> None:
    with storage.create(f"{bucket.location}a") as output:
        output.commit()
        with pytest.raises(StorageError, match="cannot be written any more"):
            output.write(b"more")
    assert bucket.contents() == {"a": b""}


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    missing = f"{bucket.scheme}://no-such-bucket-{bucket.name}/a"
    storage = Storage(schemes=[bucket.scheme])
    with pytest.raises(StorageError, match=missing):
        storage.list_inputs(missing)
    with pytest.raises(StorageError, match=missing), storage.create(missing) as output:
        output.commit()


def test_names_that_would_lead_out_of_the_output_are_refused(s3: S3Bucket) -> None:
    s3.put("in/a/../../etc/passwd", b"")
    storage = Storage(schemes=["s3"])
    with pytest.raises(LocationError, match=r"has the part '\.\.'"), storage.local_copy(f"{s3.location}in/"):
        pass
    with pytest.raises(StorageError, match="has no files below it"):  # they are hidden ones
        storage.list_inputs(f"{s3.location}in/")


def test_names_that_look_encoded(bucket: Bucket, storage: Storage) -> None:
    bucket.put("in/a%2Fb", b"content")
    (found,) = storage.list_inputs(f"{bucket.location}in/")
    assert found.relative == "a%2Fb"
    with storage.open_input(found.location) as file, storage.create(f"{bucket.location}out/a%2Fb") as output:
        output.write(file.read())
        output.commit()
    assert bucket.get("out/a%2Fb") == b"content"


def test_a_local_copy_is_complete_and_is_deleted(bucket: Bucket, storage: Storage, tmp_path: Path) -> None:
    tree = {"saved_model.pb": b"graph", "variables/variables.data-00000-of-00001": BIG, "assets/.vocabulary": b"a\n"}
    for path, content in tree.items():
        bucket.put(f"models/m/{path}", content)
    bucket.put("models/m2/saved_model.pb", b"another")
    storage = Storage(buckets=[bucket.location], scratch=tmp_path / "scratch")

    with storage.local_copy(f"{bucket.location}models/m") as copy:
        assert read_tree(copy) == tree
        assert copy.parent == tmp_path / "scratch"
    assert list((tmp_path / "scratch").iterdir()) == []

    with pytest.raises(KeyError), storage.local_copy(f"{bucket.location}models/m/"):
        raise KeyError
    assert list((tmp_path / "scratch").iterdir()) == []

    with pytest.raises(StorageError, match="has no files below it"), storage.local_copy(f"{bucket.location}models/x"):
        pass


def test_copies_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "predictor-model-abc" / "variables").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    Storage(scratch=tmp_path).delete_copies()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_leftovers_of_a_killed_process_are_deleted(s3: S3Bucket) -> None:
    storage, location = Storage(schemes=["s3"]), f"{s3.location}out/a"
    uploads: list[str] = []
    with contextlib.ExitStack() as killed:
        output = killed.enter_context(storage.create(location, "job", uploads.append))
        output.write(BIG)
        half_written = killed.pop_all()
    s3.begin_upload("out/a")  # another job's
    assert s3.unfinished_uploads() == 2
    for _ in range(2):
        storage.delete_leftovers(location, "job", *uploads)
        assert s3.unfinished_uploads() == 1
    storage.delete_leftovers(location, "another job")
    assert s3.unfinished_uploads() == 1
    half_written.close()


def test_an_object_that_is_sent_at_once_has_no_upload(s3: S3Bucket) -> None:
    uploads: list[str] = []
    with Storage(schemes=["s3"]).create(f"{s3.location}a", "job", uploads.append) as output:
        output.write(b"small")
        output.commit()
    assert (s3.contents(), uploads) == ({"a": b"small"}, [])


def test_leftovers_that_nobody_may_call_off(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with Refusing(s3.port, lambda method, path: 403 if method == "DELETE" else None) as refusing:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.port}")
        log = CapturingLogger()
        monkeypatch.setattr("server.batch.storage.backends.s3.log", log)
        Storage(schemes=["s3"]).delete_leftovers(f"{s3.location}out/a", "job", "an upload")
    assert [call.method_name for call in log.calls] == ["warning"]


class TestRefusedRequests:
    """A store that stops saying yes in the middle: full, quota, rights taken away."""

    def test_an_upload_in_the_middle(self, s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        with Refusing(s3.port, lambda _method, path: 403 if "partNumber=2" in path else None) as refusing:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.port}")
            self._fails(f"{s3.location}out/a")
        assert s3.paths() == []
        assert s3.unfinished_uploads() == 0

    def test_the_last_call_of_an_upload(self, s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(method: str, path: str) -> int | None:
            return 403 if method == "POST" and "uploadId=" in path else None

        with Refusing(s3.port, refuse) as refusing:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.port}")
            self._fails(f"{s3.location}out/a")
        assert s3.paths() == []
        assert s3.unfinished_uploads() == 0

    def test_a_resumable_upload_in_the_middle(self, gcs: GcsBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = []

        def refuse(_method: str, path: str) -> int | None:
            if "upload_id=" in path:
                parts.append(path)
            return 403 if len(parts) == 2 else None

        with Refusing(gcs.port, refuse) as refusing:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{refusing.port}")
            self._fails(f"{gcs.location}out/a")
        assert gcs.paths() == []

    def test_reading(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        location = bucket.put("in/a", 3 * BIG)
        (variable,) = (name for name, value in bucket.environment.items() if value.startswith("http://"))
        refused = False
        with Refusing(bucket.port, lambda _method, _path: 403 if refused else None) as refusing:
            monkeypatch.setenv(variable, f"http://127.0.0.1:{refusing.port}")
            with Storage(schemes=[bucket.scheme]).open_input(location) as file:
                assert file.read(100) == BIG[:100]
                refused = True
                with pytest.raises(StorageError, match=f"{location} cannot be read: "):
                    file.read()
            with pytest.raises(StorageError, match=f"{location} cannot be read: "):
                Storage(schemes=[bucket.scheme]).exists(location)

    def _fails(self, location: str) -> None:
        with pytest.raises(StorageError, match=f"{location} cannot be written: "):
            self._write_four_blocks(location)
        gc.collect()

    def _write_four_blocks(self, location: str) -> None:
        with Storage(schemes=["s3", "gs"]).create(location) as output:
            for _ in range(4):
                output.write(BIG[:BLOCK_BYTES])
            output.commit()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(StorageError, match=r"needs the package s3fs: `make setup-stores`, or `pip install s3fs`"):
        Storage(schemes=["s3"]).list_inputs("s3://bucket/a")
