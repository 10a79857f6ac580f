"""TLS for a port: its files, which may change while connections are open, and handshakes that say why they fail."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from process.security.addresses import ConnectionCounts, counted
from process.settings import SettingsGroup, setting
from process.supervision import kept_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from process.security.watch import FileWatch

_RETRY_S = 0.1
"""Seconds until connections are accepted again after the system had no descriptor for one."""

_SHUTDOWN_S = 2.0
"""Seconds in which a connection that is closed may still take what it was sent, and say that it closes, too."""

_GOODBYE_S = 1.0
"""Seconds for which a client is listened to that was refused: what it sends must not cut the alert off."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_NO_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE")

_alerts: ContextVar[list[bytes] | None] = ContextVar("alerts", default=None)

log = structlog.get_logger(__name__)


class TlsSettings(SettingsGroup, title="TLS"):
    """The same for every port of a process."""

    tls_certificate: Path | None = setting(
        None,
        "file with the certificate and those between it and its authority (PEM): both ports speak TLS alone; read again"
        " when it changes, as the next two",
        to=("process.security", "proxy"),
    )
    tls_key: Path | None = setting(None, "file with the certificate's key (PEM)", to=("process.security", "proxy"))
    tls_client_ca: Path | None = setting(
        None,
        "file with the authorities of the clients' certificates (PEM): only clients that have one come in (mutual TLS)",
        to=("process.security", "proxy"),
    )
    tls_client_certificate: Literal["required", "optional"] = setting(
        "required",
        "whether a client may come in without a certificate, where tls_client_ca is given: by its token",
        to=("process.security", "proxy"),
    )
    tls_min_version: Literal["1.2", "1.3"] = setting("1.2", "lowest version of TLS", to=("process.security", "proxy"))
    tls_handshake_s: float = setting(
        10, "maximum time of a TLS handshake", unit="s", gt=0, le=600, to=("process.security", "proxy")
    )


class TlsError(Exception):
    """The files of TLS cannot be used; the message says which and why."""


class _OfFiles:
    """What handshakes are made with, of files that may change. Belongs to the event loop."""

    def __init__(self, read: Callable[[], ssl.SSLContext], *files: Path | None) -> None:
        """`read` raises TlsError."""
        self._read = read
        self.files = [file for file in files if file is not None]
        self.context = read()

    def reload(self) -> None:
        """Read the files again: connections that are open go on, new ones get what is there now."""
        try:
            self.context = self._read()
        except TlsError as error:  # also while one of two files is new already
            log.error("the files of TLS cannot be used: those that were read last stay in force", why=str(error))
        else:
            log.info("the files of TLS were read again")


class Tls(_OfFiles):
    """What a port speaks."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises TlsError."""
        self.handshake_s = settings.tls_handshake_s
        files = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        super().__init__(lambda: _context(settings), *files)


class ClientTls(_OfFiles):
    """What servers are called with whose certificates are of the authorities in the file `ca`."""

    def __init__(self, ca: Path, certificate: Path | None) -> None:
        """`certificate`: what is shown to servers that ask for one. Raises TlsError."""
        super().__init__(lambda: _client_context(ca, certificate), ca, certificate)


def tls_of(settings: TlsSettings, files: FileWatch) -> Tls | None:
    """What the ports speak, and again when its files change; None: plain TCP. Raises TlsError."""
    if settings.tls_certificate is None:
        for name in ("tls_key", "tls_client_ca"):
            if getattr(settings, name) is not None:
                raise TlsError(f"{name} needs tls_certificate")
        return None
    tls = Tls(settings)
    files.add(tls.files, tls.reload)
    return tls


class _Handshake(ssl.SSLObject):
    """One that keeps its alert: the event loop throws it away with the connection."""

    outgoing: ssl.MemoryBIO
    alerts: list[bytes] | None
    _sslobj: Any

    def skip_a_layer(self) -> None:
        """Every request passes here three times: call OpenSSL's object itself, as SSLObject's own methods do."""
        self.read = self._sslobj.read  # type: ignore[method-assign]
        self.write = self._sslobj.write  # type: ignore[method-assign]

    def do_handshake(self) -> None:
        """See SSLObject."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.alerts is not None:
                self.alerts.append(self.outgoing.read())
            raise


class _Context(ssl.SSLContext):
    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        """See SSLContext."""
        made = super().wrap_bio(incoming, outgoing, *args, **options)
        assert isinstance(made, _Handshake)
        made.outgoing, made.alerts = outgoing, _alerts.get()
        made.skip_a_layer()
        return made


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.tls_min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    certificate, key, clients = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    assert certificate is not None
    with _naming("tls_certificate", certificate):
        certificate.read_bytes()
    if key is not None:
        with _naming("tls_key", key):
            key.read_bytes()
    with _naming("tls_key" if key is not None else "tls_certificate", key or certificate):
        # A key with a password would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    if clients is not None:
        with _naming("tls_client_ca", clients):
            context.load_verify_locations(clients)
        optional = settings.tls_client_certificate == "optional"
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context


def client_tls_of(ca: Path | None, certificate: Path | None) -> ClientTls | None:
    """What servers are called with; None: plain TCP. Raises TlsError."""
    if ca is None:
        if certificate is not None:
            raise TlsError("thrift_certificate needs thrift_ca")
        return None
    return ClientTls(ca, certificate)


def _client_context(ca: Path, certificate: Path | None) -> ssl.SSLContext:
    with _naming("thrift_ca", ca):
        context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        with _naming("thrift_certificate", certificate):
            context.load_cert_chain(certificate, password=lambda: b"")
    return context


@contextlib.contextmanager
def _naming(name: str, file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "no certificate or key in it"
        raise TlsError(f"{file}: {reason} (setting {name})") from None


def certificate_names(transport: asyncio.BaseTransport | None) -> tuple[str, ...]:
    """The names in the certificate that the peer has proved to have: its alternative names and its common name."""
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    if not certificate:
        return ()
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI", "email")]
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    return (*names, *(value for kind, value in subject if kind == "commonName"))


class TlsListener:
    """Sockets from which connections are accepted; each gets its protocol when its handshake is done.

    `most` handshakes are in progress at a time, and `most_of_address` with one address; more connections are closed as
    they come.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: Tls,
        most: int,
        most_of_address: int,
    ) -> None:
        self._of_address = ConnectionCounts(most_of_address)
        self._sockets = sockets
        self.port = sockets[0].getsockname()[1]
        self._protocol = protocol
        self._tls = tls
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for opened in self._sockets:
            opened.setblocking(False)
            self._accepting.append(loop.create_task(kept_up("accepting connections", partial(self._accept, opened))))

    def close(self) -> None:
        """Accept no more. Handshakes in progress may end."""
        for task in self._accepting:
            task.cancel()
        for opened in self._sockets:
            opened.close()

    async def stop(self) -> None:
        """As close, when handshakes in progress have ended."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GOODBYE_S)

    async def _accept(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(opened)
            except OSError:  # no more open files, or it has gone
                await asyncio.sleep(_RETRY_S)
                continue
            if len(self._tasks) >= self._most or not self._of_address.enter(counted(address)):
                accepted.close()
                continue
            task = loop.create_task(self._shake_hands(accepted, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, accepted: socket.socket, address: Any) -> None:
        loop = asyncio.get_running_loop()
        alerts: list[bytes] = []
        _alerts.set(alerts)
        with accepted.dup() as spare:
            try:
                await loop.connect_accepted_socket(
                    self._protocol,
                    accepted,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=self._tls.handshake_s,
                    ssl_shutdown_timeout=_SHUTDOWN_S,
                )
            except ssl.SSLError as error:
                self._say(address, error.reason or "the handshake failed")
                await _say_goodbye(spare, b"".join(alerts))
            except OSError:
                log.debug("a connection was closed before its handshake", peer=_shown(address))
            finally:
                self._of_address.leave(counted(address))

    def _say(self, address: Any, reason: str) -> None:
        code = "UNAUTHENTICATED" if reason in _NO_CERTIFICATE else "INVALID_ARGUMENT"
        log.warning("access refused", code=code, what="TLS handshake", why=reason.lower(), peer=_shown(address))


async def _say_goodbye(spare: socket.socket, alert: bytes) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # and so TimeoutError
        spare.send(alert)
        spare.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_GOODBYE_S):
            while await loop.sock_recv(spare, 1 << 16):
                pass


def _shown(address: Any) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
