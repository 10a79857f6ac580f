"""Which locations are accepted, and which are refused as malformed, as tricks or as not allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.batch.storage.access import Storage
from server.batch.storage.errors import LocationError
from server.batch.storage.locations import InputFile, absolute, output_of, parse
from server.batch.storage.overlap import check_apart
from server.batch.storage.permissions import AllowedLocations


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "path", "is_folder"),
    [
        ("/data/in/", "", "", "/data/in/", True),
        ("/data//in/a.json", "", "", "/data/in/a.json", False),
        ("/", "", "", "/", True),
        ("gs://bucket/in/a%20b.json", "gs", "bucket", "in/a%20b.json", False),
        ("gs://bucket", "gs", "bucket", "", True),
        ("s3://my.bucket-1/in/", "s3", "my.bucket-1", "in/", True),
        ("https://Host:8443/a/b.json.gz?sig=x%2Fy", "https", "host:8443", "a/b.json.gz", False),
        ("s3://bucket/größe/✓.json", "s3", "bucket", "größe/✓.json", False),
        ("/data/a\nb", "", "", "/data/a\nb", False),
        ("/data/\udcff", "", "", "/data/\udcff", False),
        ("/data/%2e%2e/..%2fetc", "", "", "/data/%2e%2e/..%2fetc", False),
        ("/data/a\\..\\b", "", "", "/data/a\\..\\b", False),
        ("s3://bucket/a%2Fb\n", "s3", "bucket", "a%2Fb\n", False),
        ("gs://bucket/a/%2E%2E/b", "gs", "bucket", "a/%2E%2E/b", False),
    ],
)
def test_parts(text: str, scheme: str, bucket: str, path: str, is_folder: bool) -> None:
    location = parse(text)
    assert (location.scheme, location.bucket, location.path, location.is_folder) == (scheme, bucket, path, is_folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 5000,
        "in/a.json",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc/passwd",
        "ftp://host/a",
        "memory://a",
        "simplecache::s3://bucket/a",
        "GS://bucket/a",
        "gs:/bucket/a",
        "/data/../etc/passwd",
        "/data/./a",
        "/data/..",
        "/data/a\x00.json",
        "gs://bucket/a\nb",
        "s3://bucket/\udcff",
        "gs://bucket/../other/a",
        "gs://bucket//a",
        "gs://bucket/a//",
        "gs://../a",
        "gs:///a",
        "gs://b/a",
        "s3://buck..et/a",
        "s3://user@bucket/a",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/a",
        "s3://bucket/a?versionId=1",
        "http:///a",
        "http://allowed@evil/a",
        "http://user:password@host/a",
        "http://host:99999/a",
        "http://[::1/a",
        "http://host/a#b",
        "http://host\\@evil/a",
        "http://host/../a",
        "http://host/%2e%2e/a",
        "http://host/..%2fa",
        "http://host/a%00",
        "http://host/a\nb",
        "http://host/a b",
        "http://hóst/a",
    ],
)
def test_malformed_ones_and_tricks(text: str) -> None:
    with pytest.raises(LocationError, match=r"location|names|must|has|URL"):
        parse(text)


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    storage = Storage()
    for location in (str(tmp_path), "gs://bucket/a", "s3://bucket/a", "https://host/a"):
        with pytest.raises(LocationError, match=r"no location is \(settings batch_roots, batch_schemes, batch_buckets"):
            storage.check(location, "read")


def test_what_is_allowed_is_named(tmp_path: Path) -> None:
    storage = Storage([tmp_path], ["s3"], ["gs://mine/models"])
    with pytest.raises(LocationError) as refused:
        storage.check("gs://other/a", "read")
    assert str(refused.value) == (
        "'gs://other/a' is not allowed (settings batch_roots, batch_schemes, batch_buckets): "
        "location must start with 's3://', 'gs://mine/models/' or a folder of the setting batch_roots"
    )


def test_schemes_and_buckets_are_allowed_one_by_one() -> None:
    storage = Storage(schemes=["s3"], buckets=["gs://mine", "gs://shared/models/", "https://host:8443/public"])
    for location in ("s3://any/a", "gs://mine", "gs://mine/a", "gs://shared/models/m/", "https://host:8443/public/a"):
        storage.check(location, "read")
    for location in (
        "gs://mine2/a",
        "gs://shared/a",
        "gs://shared/models2/a",
        "https://host/public/a",
        "http://host/a",
    ):
        with pytest.raises(LocationError, match="is not allowed"):
            storage.check(location, "read")


def test_web_servers_are_for_reading() -> None:
    storage = Storage(schemes=["http", "https"])
    storage.check("http://host/a", "read")
    with pytest.raises(LocationError, match="http and https locations are for reading"):
        storage.check("http://host/a", "write")


def test_local_locations_below_a_root(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    storage = Storage([root])
    for location in (root, root / "in", root / "not" / "there" / "yet"):
        storage.check(str(location), "write")
    for location in (tmp_path, tmp_path / "data2", Path("/etc/passwd"), Path("/")):
        with pytest.raises(LocationError, match="is not allowed"):
            storage.check(str(location), "read")


def test_links_that_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret").write_text("")
    (root / "out").symlink_to(tmp_path)
    (root / "in" / "a").symlink_to(tmp_path / "secret")
    (root / "b").symlink_to(root / "in")
    (root / "circle").symlink_to(root / "circle")
    storage = Storage([root])

    storage.check(f"{root}/b/c", "write")
    for location in ("out/secret", "out/", "in/a", "circle"):
        with pytest.raises(LocationError, match=r"is not allowed|cannot be resolved"):
            storage.check(f"{root}/{location}", "read")
    with pytest.raises(LocationError, match="is not allowed"):
        storage.open_input(f"{root}/in/a")
    with pytest.raises(LocationError, match="is not allowed"):
        storage.list_inputs(f"{root}/in/")
    with pytest.raises(LocationError, match="is not allowed"), storage.create(f"{root}/out/new"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_root_that_is_itself_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    Storage([tmp_path / "link"]).check(f"{tmp_path}/link/a", "read")


def test_wrong_settings() -> None:
    with pytest.raises(LocationError, match=r"'ftp' is none of gs, s3, http, https \(setting batch_schemes\)"):
        AllowedLocations([], ["ftp"], [])
    with pytest.raises(LocationError, match=r"names no bucket \(setting batch_buckets\)"):
        AllowedLocations([], [], ["/data"])


@pytest.mark.parametrize(
    ("source", "output", "apart"),
    [
        ("/in/", "/out", True),
        ("/in/", "/in-2/", True),
        ("/in/", "/in", False),
        ("/in/", "/in/out/", False),
        ("/in/a.json", "/in/", False),
        ("/in/a.json", "/in/out/", True),
        ("gs://one/in/", "gs://two/in/", True),
        ("gs://one/in/", "gs://one/in/out", False),
        ("gs://one/in/", "s3://one/in/", True),
        ("gs://one", "gs://one/out/", False),
        ("https://host/a.json", "/out/", True),
    ],
)
def test_results_among_the_input(source: str, output: str, apart: bool) -> None:
    if apart:
        check_apart(source, output)
        return
    with pytest.raises(LocationError, match="results need a place of their own"):
        check_apart(source, output)


def test_the_output_of_a_file() -> None:
    file = InputFile("gs://b/in/sub/a.json", "sub/a.json", 1)
    assert output_of(file, "s3://out/x") == "s3://out/x/sub/a.json"
    assert output_of(file, "/out/") == "/out/sub/a.json"
    with pytest.raises(LocationError, match=r"has the part '\.\.'"):
        output_of(InputFile("gs://b/in/../a", "../a", 1), "/out/")


def test_relative_locations_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("in/") == f"{tmp_path}/in/"
    assert absolute("../a") == f"{tmp_path.parent}/a"
    assert absolute("gs://b/a") == "gs://b/a"
    assert absolute("/a") == "/a"
