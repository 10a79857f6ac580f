"""Reading from a web server: with and without ranges, signed, redirected, failing in the middle."""

from __future__ import annotations

import contextlib
import gzip
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from server.batch.storage.access import Storage
from server.batch.storage.backends.backend import BLOCK_BYTES
from server.batch.storage.backends.web import is_public
from server.batch.storage.errors import LocationError, StorageError
from server.batch.storage.locations import InputFile
from tests.support.web import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * (BLOCK_BYTES // 128) + b"and 5"


class Handler(BaseHTTPRequestHandler):
    """/ranges: with ranges; /plain: without; /broken: ends early; /to?URL: redirects; all of them by GET alone."""

    ranges = CONTENT
    mark: ClassVar[dict[str, str]] = {}
    """A header that tells versions of the file from each other."""
    cut = 0
    """Bytes that lack in the middle of the file."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/ranges/a.json":
            self._ranges()
        elif path == "/plain/a.json.gz":
            self._answer(200, gzip.compress(CONTENT), Content_Encoding="gzip")
        elif path == "/plain/empty":
            self._answer(200, b"")
        elif path == "/broken/a.json":
            self._answer(200, CONTENT[:-1], len(CONTENT))
        elif path == "/signed/a%2Bb" and query == "sig=x%2Fy%2B":
            self._answer(200, b"signed")
        elif path in ("/to", "/ranges/to"):
            self._answer(302, b"", Location=query)
        elif path == "/uri":
            self._answer(302, b"", URI=query)
        elif path == "/circle":
            self._answer(307, b"", Location=self.path)
        else:
            self._answer(404 if path == "/missing" else 403, b"no")

    def _ranges(self) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found is None:
            self._answer(200, self.ranges)
            return
        first, last = int(found[1]), min(int(found[2]), len(self.ranges) - 1)
        if first > last:
            self._answer(416, b"")
            return
        content_range = f"bytes {first}-{last}/{len(self.ranges)}"
        cut = self.cut if first else 0
        self._answer(206, self.ranges[first : last + 1 - cut], Content_Range=content_range, **self.mark)

    def _answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # readers go away
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A web server's, without a slash at the end."""
    with web_server(Handler) as address:
        yield address


@pytest.fixture(scope="module")
def storage(url: str) -> Storage:
    return Storage(buckets=[url])


def test_a_server_with_ranges(storage: Storage, url: str) -> None:
    location = f"{url}/ranges/a.json?download=1"
    assert storage.list_inputs(location) == [InputFile(location, "a.json", len(CONTENT))]
    with storage.open_input(location) as file:
        assert file.seekable()
        assert file.read() == CONTENT
        file.seek(BLOCK_BYTES + 1)
        assert file.read(10) == CONTENT[BLOCK_BYTES + 1 :][:10]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"mark": {"ETag": '"1"'}}, {"mark": {"ETag": '"2"'}}),
        ({"mark": {"ETag": 'W/"1"'}}, {"mark": {"ETag": 'W/"2"'}}),
        (
            {"mark": {"Last-Modified": "Sat, 21 Nov 2026 18:15:07 GMT"}},
            {"mark": {"Last-Modified": "Sat, 21 Nov 2026 18:15:08 GMT"}},
        ),
        ({}, {"ranges": CONTENT + b"and more"}),
        ({}, {"ranges": CONTENT[:1000]}),
    ],
    ids=["ETag", "weak ETag", "date", "longer", "much shorter"],
)
def test_a_file_that_is_replaced_while_it_is_read(
    storage: Storage, url: str, monkeypatch: pytest.MonkeyPatch, before: dict[str, Any], after: dict[str, Any]
) -> None:
    location = f"{url}/ranges/a.json"
    for name, value in before.items():
        monkeypatch.setattr(Handler, name, value)
    with storage.open_input(location) as file:
        assert file.read(10) == CONTENT[:10]
        file.seek(0)
        assert file.read() == CONTENT
        file.seek(0)
        assert file.read(10) == CONTENT[:10]
        for name, value in after.items():
            monkeypatch.setattr(Handler, name, value)
        with pytest.raises(StorageError, match=f"{location} cannot be read: it has changed meanwhile"):
            file.read()


def test_a_range_that_lacks_bytes(storage: Storage, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "cut", 1)
    with (
        storage.open_input(f"{url}/ranges/a.json") as file,
        pytest.raises(StorageError, match=rf"cannot be read: {BLOCK_BYTES - 1} bytes came of {BLOCK_BYTES}"),
    ):
        file.read()


def test_a_server_without_ranges(storage: Storage, url: str) -> None:
    location = f"{url}/plain/a.json.gz"
    with storage.open_input(location) as file:
        assert not file.seekable()
        assert gzip.GzipFile(fileobj=file).read() == CONTENT


def test_an_empty_file(storage: Storage, url: str) -> None:
    with storage.open_input(f"{url}/plain/empty") as file:
        assert file.read() == b""


def test_a_signed_url_is_sent_as_it_is(storage: Storage, url: str) -> None:
    with storage.open_input(f"{url}/signed/a%2Bb?sig=x%2Fy%2B") as file:
        assert file.read() == b"signed"


def test_an_answer_that_ends_early(storage: Storage, url: str) -> None:
    with (
        storage.open_input(f"{url}/broken/a.json") as file,
        pytest.raises(StorageError, match=r"broken/a\.json cannot be read: .*Not enough data"),
    ):
        file.read()


def test_what_is_not_there(storage: Storage, url: str) -> None:
    assert not storage.exists(f"{url}/missing")
    assert storage.exists(f"{url}/ranges/a.json")
    with pytest.raises(StorageError, match="missing cannot be read: there is no such file"):
        storage.open_input(f"{url}/missing")
    with pytest.raises(StorageError, match="forbidden cannot be read: the server answers 403 Forbidden"):
        storage.open_input(f"{url}/forbidden")
    with pytest.raises(StorageError, match="cannot be read: "):
        Storage(buckets=["http://127.0.0.1:1"]).open_input("http://127.0.0.1:1/a")


def test_folders_cannot_be_listed(storage: Storage, url: str) -> None:
    with pytest.raises(StorageError, match="name one file"):
        storage.list_inputs(f"{url}/ranges/")
    with pytest.raises(StorageError, match="name one file"), storage.local_copy(f"{url}/model"):
        pass


def test_nothing_is_written(storage: Storage, url: str) -> None:
    with pytest.raises(LocationError, match="for reading"), storage.create(f"{url}/a"):
        pass


def test_redirections_stay_where_the_settings_allow(storage: Storage, url: str) -> None:
    with storage.open_input(f"{url}/to?/ranges/a.json") as file:
        assert file.read(3) == CONTENT[:3]
    other = url.replace("127.0.0.1", "localhost")
    with pytest.raises(LocationError, match=r"leads to another place: .*localhost.* is not allowed"):
        storage.open_input(f"{url}/to?{other}/ranges/a.json")
    with Storage(buckets=[url, other]).open_input(f"{url}/to?{other}/ranges/a.json") as file:
        assert file.read(3) == CONTENT[:3]


def test_every_hop_of_a_redirection_is_looked_at(storage: Storage, url: str) -> None:
    other = url.replace("127.0.0.1", "localhost")
    with pytest.raises(LocationError, match=r"leads to another place: .*localhost.* is not allowed"):
        storage.open_input(f"{url}/to?/to?{other}/to?{url}/ranges/a.json")
    for target in ("file:///etc/passwd", "ftp://host/a", "http://user@127.0.0.1/a", "//localhost/a"):
        with pytest.raises(LocationError, match="leads to another place"):
            storage.open_input(f"{url}/to?{target}")
    with pytest.raises(StorageError, match="is redirected more than 10 times"):
        storage.open_input(f"{url}/circle")


def test_no_other_header_redirects(storage: Storage, url: str) -> None:
    """Some libraries follow URI, which came before Location."""
    with pytest.raises(StorageError, match="the server answers 302 without a Location"):
        storage.open_input(f"{url}/uri?{url}/ranges/a.json")


def test_a_whole_scheme_means_no_address_of_this_network(url: str) -> None:
    """Also where a name leads to it, and where another server redirects to it."""
    schemes = Storage(schemes=["http"])
    for location in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
        with pytest.raises(LocationError, match="batch_buckets must name the host") as refused:
            schemes.open_input(f"{location}/ranges/a.json")
        assert refused.value.setting == "batch_buckets"
    both = Storage(schemes=["http"], buckets=[f"{url}/ranges"])
    with both.open_input(f"{url}/ranges/a.json") as file:
        assert file.read(3) == CONTENT[:3]
    with pytest.raises(LocationError, match="batch_buckets must name the host"):
        both.open_input(f"{url}/ranges/to?/plain/empty")
    with Storage.without_limits().open_input(f"{url}/plain/empty") as file:
        assert file.read() == b""


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("ff02::1", False),
    ],
)
def test_addresses_that_the_whole_internet_reaches(address: str, public: bool) -> None:
    assert is_public(address) is public
