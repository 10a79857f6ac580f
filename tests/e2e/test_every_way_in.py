"""Callers who may not, by every way in: transports, protocols, both ports, in one process and in two."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from predictor.ttypes import RequestOptions
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TTransportException

from tests.server.transport.thrift_clients import BY_NAME, DIALECTS, client
from tests.support.certificates import Authority
from tests.support.service import RestProxy, Service, eventually
from tests.support.tls_clients import Https, over_tls, reason_of, trusting
from tests.support.tokens import HTTP, TokenFile, code_of, over_http
from tests.support.ways import AT_PORT, AT_SOCKET, OVER_HTTP, code_at_port, code_at_socket, code_over_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ask = Callable[[str | None, str | None], str]

CASES = [
    (None, None, "UNAUTHENTICATED"),
    ("pt_wrong", None, "UNAUTHENTICATED"),
    ("expired", None, "UNAUTHENTICATED"),
    ("x" * 512, None, "UNAUTHENTICATED"),
    ("embeds", None, "PERMISSION_DENIED"),
    ("app", "b", "PERMISSION_DENIED"),
    ("app", "a", "OK"),
    ("all", "b", "OK"),
]
"""(token's name, model, code) of a call of predict."""

STATUS = {200: "OK", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "OVERLOADED"}


_PORTS = {"inside": "http", "child": "either", "alone": "thrift"}
"""Where a refusal is decided: a child knows the tokens, too, and lets strangers no further."""


class Place(NamedTuple):
    """Where HTTP is answered, and what logs the refusals."""

    port: int
    logs: tuple[Service | RestProxy, ...]


class World(NamedTuple):
    """Servers that read the same file of tokens."""

    tokens: TokenFile
    socket: Path
    inside: Service
    """Both ports in one process."""
    http: dict[str, Place]
    """By it, by a child, and by a proxy of its own before it."""


def ways() -> list[str]:
    """A name for each column of the grid, which has a token of its own to be over its rate with."""
    at_http = [f"{place} {way}" for place in ("inside", "child", "alone") for way in (*HTTP, *OVER_HTTP)]
    return [*AT_PORT, *(f"socket {dialect}" for dialect in AT_SOCKET), *at_http]


def over(way: str) -> str:
    """The name of the token that is over its rate by this way."""
    return f"over-{re.sub(r'[^a-z]+', '-', way)}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, zoo: Callable[[str], Path]) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ways")
    tokens = TokenFile(folder / "tokens.toml")
    tokens.add("all")
    tokens.add("app", methods=["predict*"], models=["a"])
    tokens.add("embeds", methods=["embed*"])
    tokens.add("expired", expires="2020-01-01")
    tokens.lines["expired"] = tokens.lines["expired"].replace('"2020-01-01"', "2020-01-01")
    for way in ways():
        tokens.add(over(way), requests_per_s=0.001)
    tokens.write()
    flags = (f"a={zoo('doc_model')}", f"--model=b={zoo('doc_model')}", f"--token-file={tokens.path}")
    with (
        Service(*flags, f"--unix-socket={folder / 'thrift'}") as inside,
        Service(*flags, "--http=proxy") as in_two,
        RestProxy(inside.port) as alone,
    ):
        http = {
            "inside": Place(inside.rest_port, (inside,)),
            "child": Place(in_two.rest_port, (in_two,)),
            "alone": Place(alone.port, (alone, inside)),
        }
        yield World(tokens, folder / "thrift", inside, http)


def audit(logs: tuple[Service | RestProxy, ...]) -> list[dict[str, Any]]:
    """The lines about refused calls so far, of all processes."""
    return [entry for one in logs for entry in one.log if entry.get("event") == "access refused"]


def check(world: World, way: str, logs: tuple[Service | RestProxy, ...], ask: Ask, port: str) -> None:
    """Each caller gets its code, each refusal is one line without the token, and a token that is over its rate too."""
    for name, model, code in [*CASES, (over(way), None, "OK"), (over(way), None, "OVERLOADED")]:
        before = len(audit(logs))
        token = None if name is None else world.tokens.tokens.get(name, name)
        assert ask(token, model) == code, (name, model)
        if code == "OK":
            continue
        eventually(lambda: len(audit(logs)) > before, "a line in the log")  # noqa: B023
        (line,) = audit(logs)[before:]
        assert line["code"] == code
        decided = "http" if code == "UNAUTHENTICATED" else "thrift"
        assert line["port"] == (decided if port == "either" else port)
        assert line["caller"] == (name if name in world.tokens.tokens else None)
        assert token is None or token not in str(line)
    lines = len(audit(logs))
    assert ask(world.tokens.tokens["all"], None) == "OK"
    assert len(audit(logs)) == lines, "a refusal had a second line"


@pytest.mark.parametrize("way", HTTP)
@pytest.mark.parametrize("place", ["inside", "child", "alone"])
def test_a_token_of_any_length(world: World, place: str, way: str) -> None:
    port, logs = world.http[place]
    for token in ("x" * 513, "x" * 20_000, "\u00e9" * 300):
        before = len(audit(logs))
        assert over_http(way, port, token, doc="a")[0] == 401
        eventually(lambda: len(audit(logs)) > before, "a line in the log")  # noqa: B023
        assert "x" * 20 not in str(audit(logs)[before:])
    assert code_over_http(port, "binary", HTTP[way]("x" * 20_000)) == "UNAUTHENTICATED"


@pytest.mark.parametrize("way", AT_PORT)
def test_at_the_thrift_port(world: World, way: str) -> None:
    port = world.inside.port
    check(world, way, (world.inside,), lambda token, model: code_at_port(way, port, token, model), "thrift")


@pytest.mark.parametrize("dialect", AT_SOCKET)
def test_at_the_unix_socket(world: World, dialect: str) -> None:
    def ask(token: str | None, model: str | None) -> str:
        return code_at_socket(world.socket, dialect, token, model)

    check(world, f"socket {dialect}", (world.inside,), ask, "thrift")
    assert audit((world.inside,))[-1]["peer"] == "a unix socket"


@pytest.mark.parametrize("way", HTTP)
@pytest.mark.parametrize("place", ["inside", "child", "alone"])
def test_over_http(world: World, place: str, way: str) -> None:
    port, logs = world.http[place]

    def ask(token: str | None, model: str | None) -> str:
        named = {} if model is None else {"model": model}
        status, body = over_http(way, port, token, doc="set an alarm", **named)
        code = STATUS[status]
        assert status == 200 or body["error"]["code"] == code
        return code

    check(world, f"{place} {way}", logs, ask, _PORTS[place])


@pytest.mark.parametrize("protocol", OVER_HTTP)
@pytest.mark.parametrize("place", ["inside", "child", "alone"])
def test_thrift_over_http(world: World, place: str, protocol: str) -> None:
    port, logs = world.http[place]

    def ask(token: str | None, model: str | None) -> str:
        return code_over_http(port, protocol, {} if token is None else HTTP["bearer"](token), model)

    check(world, f"{place} {protocol}", logs, ask, _PORTS[place])


def test_behind_a_balancer(world: World, zoo: Callable[[str], Path]) -> None:
    """The line names the client whose connection the balancer passes on, however it gives its token."""
    token = world.tokens.tokens["embeds"]
    flags = ("--no-rest", "--proxy-protocol", f"--token-file={world.tokens.path}")
    with Service(zoo("doc_model"), *flags) as service:
        for dialect, by_line in (("framed-binary-accelerated", True), ("header-binary", False)):
            with client(service.port, BY_NAME[dialect], socket_type=socket_of(token if by_line else None)) as predictor:
                if not by_line:
                    predictor._oprot.set_header(b"x-api-key", token.encode())
                assert code_of(lambda: predictor.predict("a", None)) == "PERMISSION_DENIED"
        eventually(lambda: len(audit((service,))) == 2, "both lines")
        assert {line["peer"] for line in audit((service,))} == {"192.0.2.7:4711"}


def socket_of(token: str | None) -> type[TSocket]:
    """Connections as HAProxy begins them with send-proxy, and then a line with the token."""

    class Socket(TSocket):  # type: ignore[misc]  # the thrift package has no annotations
        def open(self) -> None:
            super().open()
            self.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 9090\r\n")
            if token is not None:
                self.write(f"Bearer {token}\n".encode())

    return Socket


def test_no_log_and_no_command_line_has_a_token(world: World) -> None:
    """At the end of the module: whatever was logged above."""
    for place in world.http.values():
        for one in place.logs:
            commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (one.pid, *one.children())]
            text = "\n".join([one.log_text, *commands])
            assert "access refused" in text or one is world.http["alone"].logs[0]
            assert "pt_wrong" not in text
            assert not [name for name, token in world.tokens.tokens.items() if token in text or token[3:19] in text]


# ----------------------------------------------------------------------------------------------------- by certificates


class Files(NamedTuple):
    """Authorities, and certificates of clients."""

    ours: Authority
    others: Authority
    tokens: TokenFile


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    tokens = TokenFile(folder / "tokens.toml")
    tokens.lines["client"] = 'client = { certificate = "client.example", methods = ["predict*"] }\n'
    tokens.lines["reader"] = 'reader = { certificate = "reader.example", methods = ["embed*"] }\n'
    for name in (*(dialect.name for dialect in DIALECTS), "http"):
        tokens.lines[name] = f'"over-{name}" = {{ certificate = "{name}.example", requests_per_s = 0.001 }}\n'
    tokens.write()
    return Files(Authority(folder, "ours"), Authority(folder, "others"), tokens)


@pytest.fixture(scope="module")
def mutual(files: Files, zoo: Callable[[str], Path]) -> Iterator[Service]:
    settings = (f"--tls-certificate={files.ours.issue('localhost')}", f"--tls-client-ca={files.ours.path}")
    with Service(zoo("doc_model"), *settings, f"--token-file={files.tokens.path}") as running:
        yield running


def over_tls_with(service: Service, dialect: str) -> Callable[[ssl.SSLContext], str]:
    """What asks by this dialect of Thrift, or over HTTP, with a certificate."""

    def by_thrift(context: ssl.SSLContext) -> str:
        with over_tls(service.port, context, dialect) as predictor:
            return code_of(lambda: predictor.predict("x", RequestOptions()))

    def by_http(context: ssl.SSLContext) -> str:
        with Https(service.rest_port, context) as https:
            return STATUS[https.ask("/predict", doc="x")[0]]

    return by_http if dialect == "http" else by_thrift


@pytest.mark.parametrize("dialect", [*(dialect.name for dialect in DIALECTS), "http"])
def test_certificates(mutual: Service, files: Files, dialect: str) -> None:
    ask = over_tls_with(mutual, dialect)
    for certificate, alert in (
        (None, "CERTIFICATE_REQUIRED"),
        (files.others.issue("client.example"), "UNKNOWN_CA"),
        (files.ours.issue("client.example", expired=True), "CERTIFICATE_EXPIRED"),
    ):
        before = len(audit((mutual,)))
        with pytest.raises((ssl.SSLError, TTransportException)) as caught:
            ask(trusting(files.ours.path, certificate))
        assert alert in reason_of(caught.value)
        eventually(lambda: len(audit((mutual,))) > before, "a line in the log")  # noqa: B023
        (line,) = audit((mutual,))[before:]
        assert (line["code"], line["what"]) == ("UNAUTHENTICATED", "TLS handshake")
    for name, code in (
        ("nobody", "UNAUTHENTICATED"),
        ("reader.example", "PERMISSION_DENIED"),
        ("client.example", "OK"),
        (f"{dialect}.example", "OK"),
        (f"{dialect}.example", "OVERLOADED"),
    ):
        before = len(audit((mutual,)))
        assert ask(trusting(files.ours.path, files.ours.issue(name))) == code, name
        if code != "OK":
            eventually(lambda: len(audit((mutual,))) > before, "a line in the log")  # noqa: B023
            (line,) = audit((mutual,))[before:]
            assert (line["code"], line["port"]) == (code, "http" if dialect == "http" else "thrift")
