"""TLS on both ports: who comes in with which certificate, and files that change meanwhile."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from predictor import Predictor
from predictor.ttypes import ErrorCode, PredictionError
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from tests.server.transport.thrift_clients import DIALECTS, HOST
from tests.support.certificates import Authority
from tests.support.service import RestProxy, Service, eventually, run_server
from tests.support.tls_clients import Https, over_tls, reason_of, trusting
from tests.support.tokens import TokenFile, code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Files(NamedTuple):
    """Authorities, and what a server reads."""

    ours: Authority
    others: Authority
    certificate: Path
    tokens: TokenFile


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    tokens = TokenFile(folder / "tokens.toml")
    tokens.add("app")
    tokens.lines["client"] = 'client = { certificate = "client.example", methods = ["predict*"] }\n'
    tokens.lines["reader"] = 'reader = { certificate = "reader.example", methods = ["embed*"], may = ["status"] }\n'
    tokens.write()
    return Files(ours, others, ours.issue("localhost"), tokens)


@pytest.fixture(scope="module")
def one_way(files: Files, zoo: Callable[[str], Path]) -> Iterator[Service]:
    """The server alone has a certificate."""
    with Service(zoo("doc_model"), f"--tls-certificate={files.certificate}") as running:
        yield running


@pytest.fixture(scope="module")
def mutual(files: Files, zoo: Callable[[str], Path]) -> Iterator[Service]:
    """Clients must have one, too, which says who they are."""
    settings = (f"--tls-certificate={files.certificate}", f"--tls-client-ca={files.ours.path}")
    with Service(zoo("doc_model"), *settings, f"--token-file={files.tokens.path}") as running:
        yield running


def refused(service: Service) -> list[dict[str, Any]]:
    """The lines about refused clients so far."""
    return [entry for entry in service.log if entry.get("event") == "access refused"]


@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_every_dialect(one_way: Service, files: Files, dialect: str) -> None:
    with over_tls(one_way.port, trusting(files.ours.path), dialect) as predictor:
        assert predictor.predict("set an alarm", None)
        assert len(predictor.predict_batch(["alarm " * 200] * 50, None)) == 50


def test_http(one_way: Service, files: Files) -> None:
    with Https(one_way.rest_port, trusting(files.ours.path)) as https:
        for _ in range(3):
            assert https.ask("/predict", doc="set an alarm")[0] == 200
        assert https.ask("/predict", docs=["alarm " * 200] * 50)[0] == 200
    assert one_way.log_text.count("https://127.0.0.1:") == 1


def test_who_speaks_no_tls(one_way: Service, files: Files) -> None:
    for port in (one_way.port, one_way.rest_port):
        before = len(refused(one_way))
        with socket.create_connection((HOST, port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while plain.recv(1000):
                pass
        eventually(lambda: len(refused(one_way)) == before + 1, "a line in the log")  # noqa: B023
        assert refused(one_way)[-1]["why"] == "http_request"


def test_an_old_version(files: Files, zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), f"--tls-certificate={files.certificate}", "--tls-min-version=1.3") as service:
        old = trusting(files.ours.path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"), over_tls(service.port, old):
            pass
        with over_tls(service.port, trusting(files.ours.path)) as predictor:
            assert predictor.predict("x", None)


CLIENTS = {
    "no certificate": (None, "CERTIFICATE_REQUIRED", "peer_did_not_return_a_certificate"),
    "another authority's": ("others", "UNKNOWN_CA", "certificate_verify_failed"),
    "an expired one": ("expired", "CERTIFICATE_EXPIRED", "certificate_verify_failed"),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("port", ["thrift", "http"])
def test_wrong_certificates(mutual: Service, files: Files, client: str, port: str) -> None:
    """The client learns by TLS's own alert why, and the log has one line."""
    kind, alert, why = CLIENTS[client]
    certificate = {
        None: lambda: None,
        "others": lambda: files.others.issue("client.example"),
        "expired": lambda: files.ours.issue("client.example", expired=True),
    }[kind]()
    before = len(refused(mutual))
    context = trusting(files.ours.path, certificate)
    ask = _over_thrift if port == "thrift" else _over_http
    with pytest.raises((ssl.SSLError, TTransportException)) as caught:
        ask(mutual, context)
    assert alert in reason_of(caught.value)
    eventually(lambda: len(refused(mutual)) > before, "a line in the log")
    (line,) = refused(mutual)[before:]
    assert (line["code"], line["what"], line["why"]) == ("UNAUTHENTICATED", "TLS handshake", why)
    assert line["peer"].startswith("127.0.0.1:")


def _over_thrift(service: Service, context: ssl.SSLContext) -> None:
    with over_tls(service.port, context) as predictor:
        predictor.predict("x", None)


def _over_http(service: Service, context: ssl.SSLContext) -> None:
    with Https(service.rest_port, context) as https:
        https.ask("/predict", doc="x")


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("client.example", "OK", 200), ("reader.example", "PERMISSION_DENIED", 403), ("nobody", "UNAUTHENTICATED", 401)],
)
def test_a_certificate_says_who_it_is(mutual: Service, files: Files, name: str, code: str, status: int) -> None:
    context = trusting(files.ours.path, files.ours.issue(name))
    for dialect in ("framed-binary-accelerated", "unframed-compact", "header-binary"):
        with over_tls(mutual.port, context, dialect) as predictor:
            assert code_of(lambda: predictor.predict("x", None)) == code
    with Https(mutual.rest_port, context) as https:
        assert https.ask("/predict", doc="x")[0] == status
        # A token goes before the certificate.
        token = {"Authorization": f"Bearer {files.tokens.tokens['app']}"}
        assert https.ask("/predict", token, doc="x")[0] == 200
        assert https.ask("/predict", {"x-api-key": "wrong"}, doc="x")[0] == 401
    with over_tls(mutual.port, context, token=files.tokens.tokens["app"]) as predictor:
        assert predictor.predict("x", None)


def test_certificates_may_be_optional(files: Files, zoo: Callable[[str], Path]) -> None:
    settings = (f"--tls-certificate={files.certificate}", f"--tls-client-ca={files.ours.path}")
    more = ("--tls-client-certificate=optional", f"--token-file={files.tokens.path}")
    with Service(zoo("doc_model"), *settings, *more) as service:
        plain, known = trusting(files.ours.path), trusting(files.ours.path, files.ours.issue("client.example"))
        with over_tls(service.port, plain) as predictor:
            assert code_of(lambda: predictor.predict("x", None)) == "UNAUTHENTICATED"
        with over_tls(service.port, plain, token=files.tokens.tokens["app"]) as predictor:
            assert predictor.predict("x", None)
        with over_tls(service.port, known) as predictor:
            assert predictor.predict("x", None)


def test_silent_clients_are_closed(files: Files, zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), f"--tls-certificate={files.certificate}", "--tls-handshake-s=0.2") as service:
        for port in (service.port, service.rest_port):
            with (
                socket.create_connection((HOST, port), timeout=60) as silent,
                contextlib.suppress(ConnectionResetError),
            ):
                assert silent.recv(1) == b""


def test_it_drains(files: Files, zoo: Callable[[str], Path]) -> None:
    with (
        Service(zoo("slow_200ms"), f"--tls-certificate={files.certificate}") as service,
        over_tls(service.port, trusting(files.ours.path)) as predictor,
        over_tls(service.port, trusting(files.ours.path)),
    ):
        for _ in range(3):
            predictor.send_predict("x", None)
        eventually(lambda: _is_running(service, files), "the model runs")
        service.signal()
        for _ in range(3):
            assert predictor.recv_predict()
        assert service.wait() == 0


def _is_running(service: Service, files: Files) -> bool:
    with over_tls(service.port, trusting(files.ours.path)) as predictor:
        return bool(predictor.status().models[0].running)


_CALLERS = 8


class Callers:
    """Calls on both ports, on connections that stay and on new ones, until the end of the block; none may fail."""

    def __init__(self, thrift_port: int, http_port: int, context: ssl.SSLContext) -> None:
        self.counts = [0] * _CALLERS
        self._failures: list[BaseException] = []
        self._stop = threading.Event()
        self._thrift_port, self._http_port, self._context = thrift_port, http_port, context
        works = (self._thrift, self._http)
        self._threads = [
            threading.Thread(target=self._until_stopped, args=(index, works[index % 2], index < _CALLERS // 2))
            for index in range(_CALLERS)
        ]

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
        assert min(self.counts) > 3, self.counts

    def _until_stopped(self, index: int, work: Callable[[int, bool], None], stays: bool) -> None:
        try:
            while not self._stop.is_set():
                work(index, stays)
        except BaseException as error:
            self._failures.append(error)

    def _thrift(self, index: int, stays: bool) -> None:
        with over_tls(self._thrift_port, self._context) as predictor:
            while True:
                assert predictor.predict("x", None)
                self.counts[index] += 1
                if self._stop.is_set() or not stays:
                    return

    def _http(self, index: int, stays: bool) -> None:
        with Https(self._http_port, self._context) as https:
            while True:
                assert https.ask("/predict", doc="x")[0] == 200
                self.counts[index] += 1
                if self._stop.is_set() or not stays:
                    return


def serial_of(port: int, context: ssl.SSLContext) -> str:
    """The number of the certificate that the port shows."""
    with (
        socket.create_connection((HOST, port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        certificate = tls.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def test_certificates_change_while_calls_run(files: Files, zoo: Callable[[str], Path], tmp_path: Path) -> None:
    certificate, authorities = tmp_path / "server.pem", tmp_path / "authorities.pem"
    shutil.copy(files.certificate, certificate)
    shutil.copy(files.ours.path, authorities)
    client = trusting(files.ours.path, files.ours.issue("client.example"))
    stranger = trusting(files.ours.path, files.others.issue("client.example"))
    settings = (f"--tls-certificate={certificate}", f"--tls-client-ca={authorities}")
    with Service(zoo("doc_model"), *settings) as service:
        with Callers(service.port, service.rest_port, client) as callers:
            for _ in range(3):
                callers.go_on()
                seen = [serial_of(port, client) for port in (service.port, service.rest_port)]
                beside = tmp_path / "new.pem"
                shutil.copy(files.ours.issue("localhost"), beside)
                beside.replace(certificate)
                for port, before in zip((service.port, service.rest_port), seen, strict=True):
                    eventually(lambda: serial_of(port, client) != before, "the new one", timeout_s=10)  # noqa: B023
            callers.go_on()
            certificate.write_text("half a file")
            eventually(lambda: "the files of TLS cannot be used" in service.log_text, "the log")
            assert serial_of(service.port, client)
        with over_tls(service.port, client) as open_before:
            shutil.copy(files.others.path, authorities)
            shutil.copy(files.ours.issue("localhost"), certificate)
            eventually(lambda: _comes_in(service.port, stranger), "other clients come in", timeout_s=10)
            assert not _comes_in(service.port, client)
            assert open_before.predict("x", None)


class TlsProxy(RestProxy):
    """A proxy whose own port speaks TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, *flags: str) -> None:
        self._context = context
        super().__init__(port, flags=flags)

    def _alive(self) -> bool:
        assert self.process.poll() is None, "the proxy has ended"
        with contextlib.suppress(ConnectionRefusedError), Https(self.port, self._context) as https:
            return https.ask("/healthz")[0] == 200
        return False


def test_a_proxys_certificates_change_while_calls_run(mutual: Service, files: Files, tmp_path: Path) -> None:
    """That of its port, and what it shows to the server."""
    certificate, shown, authorities = (tmp_path / name for name in ("port.pem", "shown.pem", "authorities.pem"))
    shutil.copy(files.ours.issue("localhost"), certificate)
    shutil.copy(files.ours.issue("client.example"), shown)
    shutil.copy(files.ours.path, authorities)
    client = trusting(files.ours.path, files.ours.issue("client.example"))
    flags = (f"--tls-certificate={certificate}", f"--thrift-certificate={shown}", f"--thrift-ca={authorities}")
    with TlsProxy(mutual.port, client, *flags) as proxy:
        with Callers(mutual.port, proxy.port, client) as callers:
            for _ in range(3):
                callers.go_on()
                before = serial_of(proxy.port, client)
                for path, name in ((certificate, "localhost"), (shown, "client.example")):
                    beside = tmp_path / "new.pem"
                    shutil.copy(files.ours.issue(name), beside)
                    beside.replace(path)
                eventually(lambda: serial_of(proxy.port, client) != before, "the new one")  # noqa: B023
            callers.go_on()
        again = "the files of TLS were read again"
        lines = proxy.log_text.count(again)
        shown.write_text("half a file")
        eventually(lambda: "(setting thrift_certificate)" in proxy.log_text, "the log")
        shutil.copy(files.ours.issue("reader.example"), shown)
        eventually(lambda: proxy.log_text.count(again) > lines, "it is read again")
        with Https(proxy.port, client) as https:  # a message of Thrift has a connection of its own, which is a new one
            https.ask("/healthz")
            assert code_through(https) == ErrorCode.PERMISSION_DENIED


def code_through(https: Https) -> int | None:
    """The code of the error with which a call of predict ends that is sent to /thrift."""
    asked = TMemoryBuffer()
    Predictor.Client(TBinaryProtocol(asked)).send_predict("x", None)
    headers = {"Content-Type": "application/x-thrift"}
    https.connection.request("POST", "/thrift", asked.getvalue(), headers)
    answered = TMemoryBuffer(https.connection.getresponse().read())
    with pytest.raises(PredictionError) as caught:
        Predictor.Client(TBinaryProtocol(answered)).recv_predict()
    return caught.value.code


def _comes_in(port: int, context: ssl.SSLContext) -> bool:
    try:
        with over_tls(port, context) as predictor:
            return bool(predictor.predict("x", None))
    except (ssl.SSLError, TTransportException):
        return False


def test_a_proxy_of_its_own(mutual: Service, files: Files) -> None:
    proxy_certificate = files.ours.issue("client.example")
    flags = (
        f"--thrift-ca={files.ours.path}",
        f"--thrift-certificate={proxy_certificate}",
    )
    with RestProxy(mutual.port, flags=flags) as proxy:
        assert proxy.http("/predict?doc=x").status == 200
        token = {"Authorization": f"Bearer {files.tokens.tokens['app']}"}
        assert proxy.http("/predict?doc=x", headers=token).status == 200
        assert proxy.http("/predict?doc=x", headers={"x-api-key": "wrong"}).status == 401


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--tls-certificate={none}"], "No such file or directory (setting tls_certificate)"),
        (["--tls-certificate={empty}"], "(setting tls_certificate)"),
        (["--tls-certificate={good}", "--tls-key={none}"], "No such file or directory (setting tls_key)"),
        (["--tls-certificate={good}", "--tls-client-ca={empty}"], "(setting tls_client_ca)"),
        (["--tls-client-ca={good}"], "tls_client_ca needs tls_certificate"),
        (["--tls-certificate={good}", "--http=proxy"], "HTTP is served inside"),
    ],
)
def test_files_that_cannot_be_used(files: Files, tmp_path: Path, flags: list[str], reason: str) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    names = {"none": tmp_path / "none.pem", "empty": empty, "good": files.certificate}
    done = run_server("any.pt", "--port=0", "--rest-port=0", *(flag.format(**names) for flag in flags))
    assert done.returncode == 1
    assert reason in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
