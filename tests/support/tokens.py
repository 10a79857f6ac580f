"""Files of tokens, and clients that give one, by every way that there is."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, PredictionError, RequestOptions
from thrift.transport.TSocket import TSocket

from process.security.token_file import digest_of, new_token
from tests.server.transport.thrift_clients import BY_NAME, client
from tests.support.service import http_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class TokenFile:
    """A file of tokens at `path`: `tokens` by their names, `lines` as they stand in it."""

    path: Path
    tokens: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, **rights: Any) -> str:
        """A token with these rights, or others for one that there is; it is in force when the file is written."""
        token = self.tokens.setdefault(name, new_token())
        fields = {"sha256": digest_of(token).hex(), **rights}
        content = ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
        self.lines[name] = f"{json.dumps(name)} = {{ {content} }}\n"
        return token

    def write(self) -> None:
        """Put another file in the place of the old one, as editors and Kubernetes do."""
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(self.lines.values()))
        beside.replace(self.path)


def by_line(dialect: str) -> Callable[[int, str | None], contextlib.AbstractContextManager[Any]]:
    """Clients of this dialect, whose connections begin with a line."""

    @contextlib.contextmanager
    def connected(port: int, token: str | None) -> Iterator[Any]:
        class Socket(TSocket):  # type: ignore[misc]  # the thrift package has no annotations
            def open(self) -> None:
                super().open()
                if token is not None:
                    self.write(f"Bearer {token}\n".encode())

        with client(port, BY_NAME[dialect], socket_type=Socket) as predictor:
            yield predictor

    return connected


def by_header(dialect: str, name: str, value: str) -> Callable[[int, str | None], Any]:
    """Clients of this dialect, whose messages have a header; `value` has a place for the token."""

    @contextlib.contextmanager
    def connected(port: int, token: str | None) -> Iterator[Any]:
        with client(port, BY_NAME[dialect]) as predictor:
            if token is not None:
                predictor._oprot.set_header(name.encode(), value.format(token).encode())
            yield predictor

    return connected


THRIFT = {
    "line-framed-binary": by_line("framed-binary-accelerated"),
    "line-unframed-binary": by_line("unframed-binary"),
    "line-unframed-old": by_line("unframed-binary-old"),
    "line-framed-compact": by_line("framed-compact"),
    "line-unframed-compact": by_line("unframed-compact"),
    "header-binary": by_header("header-binary", "authorization", "Bearer {}"),
    "header-compact-zlib": by_header("header-compact-zlib", "X-Api-Key", "{}"),
}
HTTP = {
    "bearer": lambda token: {"Authorization": f"Bearer {token}"},
    "api-key": lambda token: {"x-api-key": token},
}


def over_thrift(way: str, port: int, token: str | None, model: str | None = None) -> str:
    """The code with which a call of `predict` ends, or OK."""
    with THRIFT[way](port, token) as predictor:
        return code_of(lambda: predictor.predict("set an alarm", RequestOptions(model)))


def code_of(call: Callable[[], Any]) -> str:
    """The code with which a call ends, or OK."""
    try:
        call()
    except PredictionError as error:
        return str(ErrorCode._VALUES_TO_NAMES[error.code])
    return "OK"


def over_http(way: str, port: int, token: str | None, path: str = "/predict", **fields: Any) -> tuple[int, Any]:
    """The status and the body of an answer to a request in JSON; without fields, of a GET."""
    headers = {"Content-Type": "application/json"} if fields else {}
    if token is not None:
        headers |= HTTP[way](token)
    body = json.dumps(fields) if fields else None
    answer = http_request(port, path, "POST" if fields else "GET", body, headers)
    return answer.status, answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text
