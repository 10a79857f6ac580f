"""Clients over TLS, of both ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any

from thrift.transport.TSocket import TSocket

from tests.server.transport.thrift_clients import BY_NAME, HOST, client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def trusting(authority: Path, certificate: Path | None = None) -> ssl.SSLContext:
    """A client that trusts the authority, and has a certificate."""
    context = ssl.create_default_context(cafile=str(authority))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def reason_of(error: BaseException) -> str:
    """What TLS says is wrong; Thrift's clients put an error of theirs around it."""
    inner = getattr(error, "inner", None) or error.__cause__ or error.__context__
    return str(error if isinstance(error, ssl.SSLError) else inner)


@contextlib.contextmanager
def over_tls(
    port: int, context: ssl.SSLContext, dialect: str = "framed-binary-accelerated", token: str | None = None
) -> Iterator[Any]:
    """A Thrift client."""

    class Socket(TSocket):  # type: ignore[misc]  # the thrift package has no annotations
        def open(self) -> None:
            super().open()
            self.handle = context.wrap_socket(self.handle, server_hostname="localhost")
            if token is not None:
                self.write(f"Bearer {token}\n".encode())

    with client(port, BY_NAME[dialect], socket_type=Socket) as predictor:
        yield predictor


class Https:
    """A connection for HTTP that stays open."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.connection = http.client.HTTPSConnection(HOST, port, timeout=60, context=context)

    def __enter__(self) -> Https:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, path: str, headers: Mapping[str, str] | None = None, **fields: Any) -> tuple[int, Any]:
        """The status and the body of an answer to a request in JSON; without fields, of a GET."""
        more = {"Content-Type": "application/json"} if fields else {}
        body = json.dumps(fields) if fields else None
        self.connection.request("POST" if fields else "GET", path, body, {**more, **(headers or {})})
        answer = self.connection.getresponse()
        content = answer.read().decode()
        return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content
