"""Real object stores for tests: moto's S3 server and a Google Cloud Storage emulator, each its own process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from tests.support.service import HOST, ROOT, eventually, free_port, is_listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_S3_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_STOP_S = 30
# moto asks who it is, but checks no signature
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class Bucket(ABC):
    """A bucket of its own in one of the servers, looked into by plain HTTP, without the libraries under test."""

    scheme: str

    def __init__(self, port: int) -> None:
        self.port = port
        self.name = f"batch-{secrets.token_hex(6)}"
        self.location = f"{self.scheme}://{self.name}/"
        self._create()

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What the store's library needs to find the server."""

    @abstractmethod
    def put(self, path: str, content: bytes) -> str:
        """Write an object; its location."""

    @abstractmethod
    def get(self, path: str) -> bytes:
        """An object's content."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Every object's path, sorted."""

    def contents(self) -> dict[str, bytes]:
        """Every object."""
        return {path: self.get(path) for path in self.paths()}

    @abstractmethod
    def _create(self) -> None:
        """Make the bucket."""

    def _ask(self, method: str, path: str, body: bytes | None = None, content_type: str = "text/plain") -> bytes:
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", body, method=method)
        request.add_header("Content-Type", content_type)
        request.add_header("Authorization", _AUTHORIZATION)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content


class S3Bucket(Bucket):
    """In moto's server."""

    scheme = "s3"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, path: str, content: bytes) -> str:
        self._ask("PUT", f"/{self.name}/{quote(path)}", content)
        return f"{self.location}{path}"

    def get(self, path: str) -> bytes:
        return self._ask("GET", f"/{self.name}/{quote(path)}")

    def paths(self) -> list[str]:
        listing = ElementTree.fromstring(self._ask("GET", f"/{self.name}?list-type=2"))
        return sorted(str(key.text) for key in listing.iter(f"{_S3_XML}Key"))

    def unfinished_uploads(self) -> int:
        """Uploads in parts that were begun, and neither completed nor aborted."""
        listing = ElementTree.fromstring(self._ask("GET", f"/{self.name}?uploads"))
        return len(list(listing.iter(f"{_S3_XML}Upload")))

    def begin_upload(self, path: str) -> None:
        """As a process that is then killed."""
        self._ask("POST", f"/{self.name}/{quote(path)}?uploads")

    def _create(self) -> None:
        self._ask("PUT", f"/{self.name}")


class GcsBucket(Bucket):
    """In gcp-storage-emulator."""

    scheme = "gs"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://{HOST}:{self.port}"}

    def put(self, path: str, content: bytes) -> str:
        query = urlencode({"uploadType": "media", "name": path})
        self._ask("POST", f"/upload/storage/v1/b/{self.name}/o?{query}", content)
        return f"{self.location}{path}"

    def get(self, path: str) -> bytes:
        return self._ask("GET", f"/storage/v1/b/{self.name}/o/{quote(path, safe='')}?alt=media")

    def paths(self) -> list[str]:
        listing = json.loads(self._ask("GET", f"/storage/v1/b/{self.name}/o"))
        return sorted(item["name"] for item in listing.get("items", []))

    def _create(self) -> None:
        self._ask("POST", "/storage/v1/b", json.dumps({"name": self.name}).encode(), "application/json")


@contextlib.contextmanager
def s3_server() -> Iterator[int]:
    """moto's server; its port."""
    with _server("moto.server", "--host", HOST, "--port") as port:
        yield port


@contextlib.contextmanager
def gcs_server() -> Iterator[int]:
    """The emulator of Google Cloud Storage; its port."""
    with _server("tests.support.gcs_emulator", "start", "--in-memory", "--quiet", "--host", HOST, "--port") as port:
        yield port


@contextlib.contextmanager
def _server(module: str, *arguments: str) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *arguments, str(port)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    )
    try:
        eventually(lambda: is_listening(port), f"{module} listens")
        yield port
    finally:
        process.kill()
        process.wait(_STOP_S)


class Refusing:
    """A way to one of the servers that answers a request itself where `status_of(method, path)` gives a status."""

    def __init__(self, port: int, status_of: Callable[[str, str], int | None]) -> None:
        self._server = ThreadingHTTPServer((HOST, 0), _handler(port, status_of))
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Refusing:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(port: int, status_of: Callable[[str, str], int | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # S3's clients wait to be told to go on

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status = status_of(self.command, self.path)
            if status is not None:
                self._answer(status, {}, b"")
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")
            }
            request = urllib.request.Request(f"http://{HOST}:{port}{self.path}", body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self._answer(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    self._answer(error.code, dict(error.headers), error.read())

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.send_header("Content-Length", headers.get("Content-Length", str(len(body))))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a client that has read enough
                self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 - names that http.server looks for

    return Handler


def write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    """Files below a folder, by relative path."""
    for relative, content in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read_tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, temporary and hidden ones too, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
