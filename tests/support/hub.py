"""A hub on this machine: what huggingface_hub asks a hub for, of folders, and every way in which that can go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from tests.support.web import web_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = (".safetensors", ".bin", ".gguf", ".onnx", ".h5", ".msgpack")
"""Files that Git LFS holds: they are answered with a redirect."""

CUT, BROKEN, BUSY, WHOLE, WRONG, STALLED, EXPIRED = "cut", "broken", "busy", "whole", "wrong", "stalled", "expired"
"""What may happen to a request of a file: it ends in its middle, or without an answer; 500; its beginning comes where
its end was asked for; other bytes; half of it, and no more until `Served.go_on`; 403 of the store."""


@dataclass
class Served:
    """A model on the hub."""

    folder: Path
    revisions: tuple[str, ...] = ("main",)
    commit: str = ""
    token: str | None = None
    """Who has none is told that the model is gated."""
    is_private: bool = False
    """Who has no token is told that there is none."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Of each file, what happens to the requests to come."""
    siblings: Callable[[list[dict[str, Any]]], Any] = lambda files: files
    """What is said of the files."""
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.commit = self.commit or hashlib.sha1(str(self.folder).encode()).hexdigest()

    def listed(self) -> Any:
        """As /api/models answers."""
        names = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return self.siblings([sibling(self.folder, name) for name in names])


def sibling(folder: Path, name: str) -> dict[str, Any]:
    """What a hub says of a file."""
    content = (folder / name).read_bytes()
    said: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
    if name.endswith(LARGE):
        said["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return said


def git_digest(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class LocalHub:
    """Models by their names, and what was asked for."""

    def __init__(self) -> None:
        self.models: dict[str, Served] = {}
        self.asked: list[str] = []
        """METHOD PATH of each request, with bytes=... where a part was asked for."""
        self.busy = 0
        """So many requests of lists are answered with 503, or with 429 and these headers."""
        self.busy_headers: dict[str, str] = {}
        self.status: tuple[int, dict[str, str]] | None = None
        """With which lists are answered, whatever is asked for."""
        self.tokens: list[str] = []
        """Which the store of large files was sent: it is another host, and has no right to any."""
        self.address = ""

    @property
    def store(self) -> str:
        """The address of the store: the same port by another name."""
        return self.address.replace("127.0.0.1", "localhost")

    def add(self, name: str, folder: Path, **about: Any) -> Served:
        """Serve a folder."""
        self.models[name] = Served(folder, **about)
        return self.models[name]

    def asked_for(self, part: str) -> list[str]:
        """Requests of files whose path contains `part`."""
        return [line for line in self.asked if "/resolve/" in line and part in line]


@contextlib.contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Until the end of the block; `address` is for HF_ENDPOINT."""
    hub = LocalHub()
    with web_server(lambda *arguments: _Answers(hub, *arguments)) as hub.address:
        try:
            yield hub
        finally:
            for model in hub.models.values():
                model.go_on.set()


def environment(hub: LocalHub, cache: Path, **more: str) -> dict[str, str]:
    """Of a process that is to use this hub and this cache, and no token of the user's."""
    home = cache.parent / "home"
    return {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(cache), "HF_HOME": str(home), "HF_TOKEN": "", **more}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: LocalHub, *arguments: Any) -> None:
        self._hub = hub
        super().__init__(*arguments)

    def handle_one_request(self) -> None:
        """A client may go away at any time."""
        try:
            super().handle_one_request()
        except ConnectionResetError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        """As Hugging Face's libraries ask before each file."""
        self.do_GET()

    def do_GET(self) -> None:
        """A list of files, a file, or what a file was redirected to."""
        path = urllib.parse.urlsplit(self.path).path
        part = self.headers.get("Range", "")
        self._hub.asked.append(f"{self.command} {urllib.parse.unquote(path)} {part}".rstrip())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if path.startswith("/api/models/"):
                name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                self._list(name, urllib.parse.unquote(revision))
            elif path.startswith("/store/"):
                self._hub.tokens += filter(None, [self.headers.get("Authorization")])
                _, _, owner, name, file = path.split("/", 4)
                self._send_file(self._hub.models[f"{owner}/{name}"], urllib.parse.unquote(file))
            else:
                name, _, rest = path.removeprefix("/").partition("/resolve/")
                commit, _, file = rest.partition("/")
                self._resolve(name, commit, urllib.parse.unquote(file))

    def _list(self, name: str, revision: str) -> None:
        if self._hub.status is not None:
            return self._send(*self._hub.status, body=b"<html>")
        if self._hub.busy:
            self._hub.busy -= 1
            return self._send(429 if self._hub.busy_headers else 503, self._hub.busy_headers)
        model = self._allowed(name)
        if model is None:
            return None
        if revision not in (*model.revisions, model.commit):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        said = {"id": name, "modelId": name, "sha": model.commit, "siblings": model.listed()}
        return self._send(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    def _allowed(self, name: str) -> Served | None:
        model = self._hub.models.get(name)
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if model is None or (model.is_private and sent != model.token):
            self._send(401, {"X-Error-Code": "RepoNotFound"})
            return None
        if model.token is not None and sent != model.token:
            self._send(403 if sent else 401, {"X-Error-Code": "GatedRepo"})
            return None
        return model

    def _resolve(self, name: str, commit: str, file: str) -> None:
        model = self._allowed(name)
        if model is None:
            return None
        if commit not in (*model.revisions, model.commit) or not (model.folder / file).is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        if not file.endswith(LARGE):
            return self._send_file(model, file)
        content = (model.folder / file).read_bytes()
        headers = {
            "Location": f"{self._hub.store}/store/{name}/{urllib.parse.quote(file)}",
            "X-Repo-Commit": model.commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
        }
        return self._send(302, headers)

    def _send_file(self, model: Served, file: str) -> None:
        content = (model.folder / file).read_bytes()
        faults = model.faults.get(file)
        fault = faults.pop(0) if faults else None
        if fault == BROKEN:
            self.close_connection = True
            return None
        if fault in (BUSY, EXPIRED):
            return self._send(500 if fault == BUSY else 403)
        if fault == WRONG:
            content = bytes(byte ^ 1 for byte in content)
        begin = 0 if fault == WHOLE else int(self.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"ETag": f'"{git_digest(content)}"', "X-Repo-Commit": model.commit}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if fault not in (CUT, STALLED):
            return self._send(206 if begin else 200, headers, content[begin:])
        half = content[begin : (begin + len(content)) // 2]
        self._begin(206 if begin else 200, headers | {"Content-Length": str(len(content) - begin)})
        self.wfile.write(half)
        self.wfile.flush()
        self.close_connection = True
        if fault == STALLED:
            model.go_on.wait(60)
            self.wfile.write(content[begin + len(half) :])
        return None

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self._begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
