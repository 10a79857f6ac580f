"""The file of tokens, and the headers that bring one.

The first byte says which: 0 a file, 1 headers of HTTP (lines of NAME: VALUE).
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from process.security.access import Access, AccessError, Visit
from process.security.token_file import TokenFileError, digest_of, read
from server.security.gate import METHODS
from tests.fuzz.unit import FaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

FILE, HEADERS = 0, 1
TOKEN = "pt_" + "b" * 43

_LONGEST_REASON = 1000


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 64 << 20

    def __init__(self, files: SharedFiles) -> None:
        del files
        self._folder = tempfile.TemporaryDirectory(prefix="predictor-fuzz-")
        self._path = Path(self._folder.name) / "tokens.toml"
        self._path.write_text(_file())
        self._access = Access(self._path, METHODS)

    def one(self, data: bytes) -> bool:
        """Whether the file can be used; whether the headers have a token that is known."""
        if not data:
            return False
        return self._headers(data[1:]) if data[0] % 2 else self._file(data[1:])

    def _file(self, content: bytes) -> bool:
        self._path.write_bytes(content)
        try:
            entries = read(self._path, METHODS)
        except TokenFileError as error:
            if len(str(error)) > _LONGEST_REASON:
                raise FaultError(f"a reason of {len(str(error))} characters") from None
            return False
        access = Access(self._path, METHODS)
        for method in ("predict", "load_model", "status"):
            for caller in (access.by_token(TOKEN), access.by_certificate(["batch.example.com"])):
                with contextlib.suppress(AccessError):
                    caller.require(method)
        access.reload()
        return bool(entries)

    def _headers(self, content: bytes) -> bool:
        headers: CIMultiDict[str] = CIMultiDict()
        for line in content.decode("utf-8", "surrogateescape").splitlines():
            name, _, value = line.partition(":")
            headers.add(name.strip(), value.strip())
        caller = self._access.by_headers(headers)
        Visit(caller, "http", None).refused("UNAUTHENTICATED", "why", "predict")
        assert caller is self._access.by_headers(headers)
        return not caller.grant.refusal

    def seeds(self) -> Iterator[bytes]:
        """A file with every field, and both headers."""
        yield bytes([FILE]) + _file().encode()
        yield bytes([FILE]) + b'[app]\nsha256 = "' + b"a" * 64 + b'"\nexpires = 2030-01-01T00:00:00Z\n'
        yield bytes([HEADERS]) + f"Authorization: Bearer {TOKEN}".encode()
        yield bytes([HEADERS]) + f"Accept: */*\nX-Api-Key: {TOKEN}".encode()

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._folder.cleanup()


def _file() -> str:
    sha256 = digest_of(TOKEN).hex()
    return (
        f'app = {{ sha256 = "{sha256}", methods = ["predict*"], models = ["a", "b/*"], requests_per_s = 100,'
        ' tokens_per_s = 5.5, in_flight = 3, expires = 2030-01-01, may = ["load_models", "jobs", "metrics", "status"]'
        ' }\nbatch = { certificate = "batch.example.com", in_flight = 8 }\n'
    )
