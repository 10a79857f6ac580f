"""Who may do what: tokens by every way, on both ports, in one process and in two."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service import RestProxy, Service, connected, eventually
from tests.support.tokens import HTTP, THRIFT, TokenFile, code_of, over_http, over_thrift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SOON_S = 10  # for what takes a second at most, on a busy machine
STATUS = {"OK": 200, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "OVERLOADED": 429}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    """What every server of this module reads."""
    made = TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.toml")
    made.add("all", may=["load_models", "jobs", "metrics", "status"])
    made.add("app", methods=["predict*"], models=["a"])
    made.add("only-b", models=["b"])
    made.add("embeds", methods=["embed*"])
    made.add("expired", expires="2020-01-01")
    made.lines["expired"] = made.lines["expired"].replace('"2020-01-01"', "2020-01-01")
    made.add("words", tokens_per_s=1.0)
    made.add("one", in_flight=1)
    for way in (*THRIFT, *HTTP, "proxy-bearer", "proxy-api-key"):
        made.add(f"rate-{way}", requests_per_s=0.001)
    made.write()
    return made


@pytest.fixture(scope="module")
def guarded(tokens: TokenFile, zoo: Callable[[str], Path]) -> Iterator[Service]:
    """Two models, both ports in one process."""
    with Service(f"a={zoo('doc_model')}", f"--model=b={zoo('doc_model')}", f"--token-file={tokens.path}") as running:
        yield running


@pytest.fixture(scope="module")
def in_two(tokens: TokenFile, zoo: Callable[[str], Path]) -> Iterator[Service]:
    """The same, HTTP by a process of its own."""
    models = (f"a={zoo('doc_model')}", f"--model=b={zoo('doc_model')}")
    with Service(*models, f"--token-file={tokens.path}", "--http=proxy") as running:
        yield running


def audit(service: Service) -> list[dict[str, Any]]:
    """The lines about refused calls so far."""
    return [entry for entry in service.log if entry.get("event") == "access refused"]


def one_line_more(service: Service, before: int) -> dict[str, Any]:
    """The one line that came since there were `before`."""
    eventually(lambda: len(audit(service)) > before, "a line in the log")
    lines = audit(service)[before:]
    assert len(lines) == 1, lines
    return lines[0]


CASES = [
    (None, None, "UNAUTHENTICATED"),
    ("pt_wrong", None, "UNAUTHENTICATED"),
    ("expired", None, "UNAUTHENTICATED"),
    ("embeds", None, "PERMISSION_DENIED"),
    ("app", "b", "PERMISSION_DENIED"),
    ("only-b", None, "PERMISSION_DENIED"),  # the model that answers is a
    ("app", None, "OK"),
    ("app", "a", "OK"),
    ("only-b", "b", "OK"),
    ("all", "b", "OK"),
]


@pytest.mark.parametrize("way", THRIFT)
def test_over_thrift(guarded: Service, tokens: TokenFile, way: str) -> None:
    for name, model, code in CASES:
        before = len(audit(guarded))
        token = tokens.tokens.get(name, name) if name is not None else None
        assert over_thrift(way, guarded.port, token, model) == code, (name, model)
        if code != "OK":
            line = one_line_more(guarded, before)
            assert (line["code"], line["what"], line["port"]) == (code, "predict", "thrift")
            assert line["caller"] == (name if code == "PERMISSION_DENIED" or name == "expired" else None)
            assert line["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize("way", HTTP)
def test_over_http(guarded: Service, tokens: TokenFile, way: str) -> None:
    for name, model, code in CASES:
        before = len(audit(guarded))
        token = tokens.tokens.get(name, name) if name is not None else None
        named = {"model": model} if model is not None else {}
        status, body = over_http(way, guarded.rest_port, token, doc="set an alarm", **named)
        assert status == STATUS[code], (name, model, body)
        if code != "OK":
            assert body["error"]["code"] == code
            line = one_line_more(guarded, before)
            assert (line["code"], line["port"]) == (code, "http")
            assert line["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize("way", HTTP)
def test_by_a_proxy(in_two: Service, guarded: Service, tokens: TokenFile, way: str) -> None:
    """The child of a server, and one before two servers, which knows no token itself."""
    with RestProxy(guarded.port, in_two.port) as alone:
        for name, model, code in CASES:
            token = tokens.tokens.get(name, name) if name is not None else None
            named = {"model": model} if model is not None else {}
            for port in (in_two.rest_port, alone.port):
                status, body = over_http(way, port, token, doc="set an alarm", **named)
                assert status == STATUS[code], (name, model, body)
        assert all(token not in alone.log_text for token in tokens.tokens.values())


@pytest.mark.parametrize("way", THRIFT)
def test_over_its_rate_over_thrift(guarded: Service, tokens: TokenFile, way: str) -> None:
    token = tokens.tokens[f"rate-{way}"]
    assert over_thrift(way, guarded.port, token) == "OK"
    before = len(audit(guarded))
    assert over_thrift(way, guarded.port, token) == "OVERLOADED"
    assert one_line_more(guarded, before)["caller"] == f"rate-{way}"


@pytest.mark.parametrize("way", HTTP)
def test_over_its_rate_over_http(guarded: Service, in_two: Service, tokens: TokenFile, way: str) -> None:
    for service, name in ((guarded, f"rate-{way}"), (in_two, f"rate-proxy-{way}")):
        token = tokens.tokens[name]
        assert over_http(way, service.rest_port, token, doc="x")[0] == 200
        status, body = over_http(way, service.rest_port, token, doc="x")
        assert (status, body["error"]["code"]) == (429, "OVERLOADED")
        assert f"'{name}' is over its rate of 0.001 requests a second" in body["error"]["message"]


def test_tokens_of_models(guarded: Service, tokens: TokenFile) -> None:
    token = tokens.tokens["words"]
    assert over_http("bearer", guarded.rest_port, token, doc="alarm " * 50)[0] == 200
    assert over_http("bearer", guarded.rest_port, token, doc="alarm")[0] == 429
    assert over_thrift("header-binary", guarded.port, token) == "OVERLOADED"


def test_calls_in_flight(zoo: Callable[[str], Path], tokens: TokenFile) -> None:
    with (
        Service(zoo("slow_200ms"), "--no-rest", f"--token-file={tokens.path}") as slow,
        THRIFT["line-framed-binary"](slow.port, tokens.tokens["one"]) as predictor,
    ):
        predictor.send_predict("a", None)
        predictor.send_predict("b", None)
        assert predictor.recv_predict()
        assert code_of(predictor.recv_predict) == "OVERLOADED"
        assert predictor.predict("c", None)


def test_rights_beyond_models(guarded: Service, tokens: TokenFile) -> None:
    with THRIFT["line-framed-binary"](guarded.port, tokens.tokens["app"]) as app:
        for call in (
            lambda: app.load_model("c", "c.pt"),
            lambda: app.unload_model("a"),
            lambda: app.list_batches(1),
            lambda: app.get_batch("x"),
        ):
            assert code_of(call) == "PERMISSION_DENIED"
        assert [model.name for model in app.list_models()] == ["a"]
        status = app.status()
        assert (status.ready, status.models, status.version) == (True, [], "")
    with THRIFT["header-binary"](guarded.port, tokens.tokens["all"]) as everything:
        assert len(everything.status().models) == 2
    with THRIFT["line-framed-binary"](guarded.port, None) as nobody:
        assert nobody.status().ready
        assert code_of(nobody.list_models) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("path", "nobody", "app"),
    [
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/openapi.json", 200, 200),
        ("/swagger", 200, 200),
        ("/", 200, 200),
        ("/models", 401, 200),
        ("/v1/models", 401, 200),
        ("/status", 401, 403),
        ("/metrics", 401, 403),
        ("/batches", 401, 403),
        ("/?doc=x", 401, 200),
        ("/no/such/path?doc=x", 401, 200),
    ],
)
def test_routes(guarded: Service, in_two: Service, tokens: TokenFile, path: str, nobody: int, app: int) -> None:
    for port in (guarded.rest_port, in_two.rest_port):
        assert over_http("bearer", port, None, path)[0] == nobody
        assert over_http("bearer", port, tokens.tokens["app"], path)[0] == app
        assert over_http("bearer", port, tokens.tokens["all"], path)[0] in (200, 400)  # no jobs here


def test_forms_of_the_errors(guarded: Service) -> None:
    status, body = over_http("bearer", guarded.rest_port, "sk-wrong", "/v1/embeddings", input="x", model="a")
    assert (status, body["error"]["code"], body["error"]["type"]) == (401, "invalid_api_key", "invalid_request_error")
    status, body = over_http("bearer", guarded.rest_port, None, "/", inputs="x")
    assert (status, body["code"]) == (401, "UNAUTHENTICATED")
    answer = guarded.http("/?doc=x")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.text == "a token is needed\n"


def test_no_secret_is_shown(guarded: Service, in_two: Service, tokens: TokenFile) -> None:
    """At the end of the module: whatever was logged above."""
    for service in (guarded, in_two):
        log = service.log_text
        assert "access refused" in log
        assert "pt_wrong" not in log
        assert not [name for name, token in tokens.tokens.items() if token in log or token[3:19] in log]


def test_a_token_without_an_end_is_not_logged(guarded: Service) -> None:
    with connected(guarded.port) as connection:
        connection.sendall(b"Bearer pt_secret" + b"s" * 600)
        assert connection.recv(1) == b""
    eventually(lambda: "a token's line without an end" in guarded.log_text, "the log")
    assert "secret" not in guarded.log_text
    assert b"pt_secret".hex(" ") not in guarded.log_text


_CALLERS = 8


class Callers:
    """Calls on both ports, of several at a time, until the end of the block; none may fail."""

    def __init__(self, thrift_port: int, http_port: int, token: str) -> None:
        self.counts = [0] * _CALLERS
        self._failures: list[Any] = []
        self._stop = threading.Event()
        self._ports, self._token = (thrift_port, http_port), token
        works = (self._thrift, self._http)
        self._threads = [threading.Thread(target=works[place % 2], args=(place,)) for place in range(_CALLERS)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def go_on(self) -> None:
        """Wait until each has had some more answers: a change is amid calls, however busy the machine is."""
        before = list(self.counts)
        eventually(
            lambda: self._failures or all(now >= then + 10 for then, now in zip(before, self.counts, strict=True)),
            "ten calls of each",
        )

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self._failures == []
        assert min(self.counts) > 10

    def _thrift(self, place: int) -> None:
        with THRIFT["line-framed-binary"](self._ports[0], self._token) as predictor:
            while not self._stop.is_set():
                code = code_of(lambda: predictor.predict("x", None))
                self._failures += [code] * (code != "OK")
                self.counts[place] += 1

    def _http(self, place: int) -> None:
        while not self._stop.is_set():
            status, body = over_http("bearer", self._ports[1], self._token, doc="x")
            self._failures += [body] * (status != 200)
            self.counts[place] += 1


@pytest.mark.parametrize("place", ["inside", "proxy", "alone"])
def test_rights_change_while_calls_run(zoo: Callable[[str], Path], tmp_path: Path, place: str) -> None:
    """The file is swapped again and again: no call that is allowed before and after fails, and what changed counts."""
    file = TokenFile(tmp_path / "tokens.toml")
    steady = file.add("steady")
    file.write()
    http = "inside" if place == "inside" else "proxy"
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Service(zoo("doc_model"), f"--token-file={file.path}", f"--http={http}"))
        http_port = service.rest_port
        if place == "alone":
            http_port = stack.enter_context(RestProxy(service.port)).port
        callers = stack.enter_context(Callers(service.port, http_port, steady))
        for step in range(3):
            callers.go_on()
            guest = file.add("guest")
            file.add(f"more-{step}")
            file.write()
            eventually(lambda: over_thrift("header-binary", service.port, file.tokens["guest"]) == "OK", "it is known")
            eventually(lambda: over_http("bearer", http_port, file.tokens["guest"], doc="x")[0] == 200, "and there")
            with THRIFT["line-framed-binary"](service.port, guest) as predictor:
                ask = partial(predictor.predict, "x", None)
                assert code_of(ask) == "OK"
                file.add("guest", methods=["embed*"])
                file.write()
                eventually(partial(_is, ask, "PERMISSION_DENIED"), "other rights", timeout_s=_SOON_S)
                eventually(lambda: over_http("bearer", http_port, guest, doc="x")[0] == 403, "and there")  # noqa: B023
                del file.lines["guest"]
                file.write()
                eventually(partial(_is, ask, "UNAUTHENTICATED"), "it is gone", timeout_s=_SOON_S)
        file.path.write_text("no = TOML = at all pt_secret")
        eventually(lambda: "the file of tokens cannot be used" in service.log_text, "the log")
        assert "pt_secret" not in service.log_text


def _is(call: Callable[[], Any], code: str) -> bool:
    return code_of(call) == code
