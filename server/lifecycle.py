"""The life of the server: start, ready, drain, stop. Reads in that order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import structlog
from predictor.ttypes import ServerStatus

from process.security.access import Access
from process.security.addresses import RequestRates
from process.security.openness import OpenError, is_open
from process.security.tls import Tls, TlsError, tls_of
from process.security.token_file import TokenFileError
from process.security.watch import FileWatch
from process.signals import on_signals
from process.version import VERSION
from server import metrics
from server.batch.jobs import Jobs, NoJobs
from server.batch.state.job_store import StoreError
from server.batch.storage.errors import LocationError
from server.errors import ModelError
from server.models.registry import Registry, parse_location
from server.proxy.child import Proxy, ProxyError, loopback
from server.rpc.handler import Handler
from server.security.gate import METHODS, Gate
from server.transport.limits import limits_of
from server.transport.server import ThriftServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings
    from server.proxy.inside import Inside

log = structlog.get_logger()

# Of the time for draining that the proxy has left, the share in which streamed texts may be read to their end, by calls
# that come one by one.
_STREAMS_SHARE = 0.8

_GC_THRESHOLD = 50_000

_LEAST_CLOSE_S = 2.0


class StartError(Exception):
    """The server cannot start; the message says why."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    await Server(settings).run()


class Server:
    """One per process; belongs to the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._draining = False
        self._stop = asyncio.Event()
        self._delay_ms = 0
        self.registry = Registry(settings)
        self._jobs = _jobs(settings, self.registry)
        self._handler = Handler(self.registry, settings, self.status, self._jobs)
        self._files = FileWatch()
        self._gate = _gate(settings, self.registry, self._files)
        self._tls = _tls(settings, self._files)
        rates = RequestRates(settings.requests_per_address) if settings.requests_per_address else None
        self._thrift = ThriftServer(self._handler, limits_of(settings), log, self._gate, self._tls, rates)
        self._http: Inside | Proxy | None = None

    async def run(self) -> None:
        """From start to stop. Raises StartError."""
        _warn_if_open(self._settings)
        on_signals(self._on_signal, self._on_second_signal)
        try:
            await self._listen()
            self._name_models()
            await self._start_http()
            loading = asyncio.create_task(self._load_models())
            await self._done_or_stopped(loading)
        except StartError:
            self._kill()
            await self.registry.close()
            raise
        except BaseException:
            self._kill()
            raise
        if not self._stop.is_set():
            self._jobs.start()
            self._announce()
            await self._stop.wait()
            await self._leave()
        await self._drain()
        if not loading.done():
            _exit_now(0)  # nothing was promised to anybody, and a model that loads cannot be interrupted

    def status(self) -> ServerStatus:
        """The answer to the contract's `status`."""
        reasons = ["the server is draining"] if self._draining else self.registry.unready()
        return ServerStatus(
            version=VERSION,
            uptime_s=time.monotonic() - self._started,
            ready=not reasons,
            reasons=reasons,
            connections=self._thrift.connections,
            models=self.registry.statuses(),
        )

    async def _listen(self) -> None:
        """Open the ports first: a probe learns that the server is alive, and why it is not ready yet."""
        self._files.start()
        settings = self._settings
        with _listening(settings.host, settings.port, "port"):
            await self._thrift.start(settings.host, settings.port, proxy_protocol=settings.proxy_protocol)
        if settings.unix_socket is not None:
            with _listening(str(settings.unix_socket), None, "unix_socket"):
                await self._thrift.start_unix(settings.unix_socket)
        if settings.metrics_port:
            with _listening(settings.host, settings.metrics_port, "metrics_port"):
                metrics.serve(
                    settings.host,
                    settings.metrics_port,
                    self.status,
                    self.registry.truncated,
                    self._thrift.counters,
                    self._gate.access if self._gate is not None else None,
                )

    def _name_models(self) -> None:
        """All names, and a look at every file, before the first model takes its time to load."""
        for text in self._settings.model:
            with _starting():
                self.registry.announce(*parse_location(text))
        names = {parse_location(text)[0] for text in self._settings.model}
        keys = {part.partition("=")[0] for part in self._settings.upstream_keys}
        for setting, named in (("model_device", self._settings.devices.keys()), ("upstream_keys", keys)):
            strange = named - names
            if strange and self._settings.model_root is None:
                raise StartError(f"no model is named {min(strange)!r} (setting {setting})")

    async def _load_models(self) -> None:
        for text in self._settings.model:
            with _starting():
                await self.registry.load(*parse_location(text))
        # What is loaded by now stays: the collector need not look at it again. Requests make no cycles, so it need not
        # look often either: at the usual 700 objects it took 4 % of the server's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)

    async def _done_or_stopped(self, work: asyncio.Task[None]) -> None:
        """Wait for the work, but no longer than until a signal comes. Raises what the work raises."""
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            await work

    async def _start_http(self) -> None:
        """Before the models are loaded, so that HTTP too can say what the server is waiting for."""
        settings = self._settings
        if settings.http == "inside":
            from server.proxy.inside import Inside  # only now: a server without HTTP needs no HTTP library

            self._http = inside = Inside(
                settings, self._thrift.port, self._handler, self.status, self._thrift.answer, self._gate, self._tls
            )
            with _listening(settings.http_host, settings.rest_port, "rest_port"):
                await inside.start()
        elif settings.http == "proxy":
            self._http = proxy = Proxy(settings, self._thrift.port)
            with _starting():
                await proxy.start()

    def _announce(self) -> None:
        """The line that PyText's server printed, by which scripts know that it is up; then, last, one for people."""
        urls = {"thrift": f"{loopback(self._settings.host)}:{self._thrift.port}"}
        rest = ""
        if self._http is not None:
            urls["http"] = self._http.url
            rest = f", REST port: {self._http.port}"
        print(f"Server running. Thrift port: {self._thrift.port}{rest}", flush=True)
        log.info("ready", **urls)

    def _on_signal(self, number: int) -> None:
        self._delay_ms = self._settings.drain_delay_ms if number == signal.SIGTERM else 0
        log.info(
            "draining",
            signal=signal.Signals(number).name,
            after_ms=self._delay_ms,
            timeout_ms=self._settings.drain_timeout_ms,
        )
        self._draining = True
        self._stop.set()

    def _on_second_signal(self, number: int) -> None:
        log.warning("second signal: ending at once")
        self._kill()
        _exit_now(128 + number)

    async def _leave(self) -> None:
        """Serve on until load balancers have noticed that the server is not ready any more."""
        if self._delay_ms:
            if self._http is not None:
                self._http.leave()
            await asyncio.sleep(self._delay_ms / 1000)

    async def _drain(self) -> None:
        """Finish what was accepted: the proxy's requests first, as they need the Thrift server."""
        timeout_s = self._settings.drain_timeout_ms / 1000
        end = time.monotonic() + timeout_s
        self.registry.stop_loading("the server is draining")
        stopping = asyncio.create_task(self._jobs.stop())
        if self._http is not None:
            await self._http.stop(timeout_s)
        await self._handler.streams.drain((end - time.monotonic()) * _STREAMS_SHARE)
        complete = await self._thrift.drain(max(0.0, end - time.monotonic()))
        if not complete:
            log.warning("requests were dropped: the time for draining was over (setting drain_timeout_ms)")
            self._kill()
            _exit_now(1)  # a model that still runs cannot be interrupted
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                await stopping
        except TimeoutError:
            log.warning("a batch job did not end in time: it goes on at the next start (setting drain_timeout_ms)")
            _exit_now(0)  # a thread that waits for a storage cannot be interrupted
        self._jobs.close()
        log.info("drained", models=[vars(model) for model in self.registry.statuses()])
        try:
            async with asyncio.timeout(max(_LEAST_CLOSE_S, end - time.monotonic())):
                await self.registry.close()
        except TimeoutError:
            log.warning("a model still runs: all calls were answered, and the process ends without it")
            _exit_now(0)
        log.info("stopped")
        if not self.registry.is_at_rest:
            _exit_now(0)  # what is still loaded is of use to nobody, and cannot be interrupted

    def _kill(self) -> None:
        if self._http is not None:
            self._http.kill()
        self._thrift.close()


def _jobs(settings: Settings, registry: Registry) -> Jobs | NoJobs:
    """Batch jobs, where there is a place to keep them. Raises StartError."""
    if settings.jobs_db is None:
        return NoJobs()
    try:
        return Jobs(settings, registry)
    except (StoreError, LocationError) as error:
        raise StartError(str(error)) from None


def _warn_if_open(settings: Settings) -> None:
    """Say it where everybody may call who reaches the ports. Raises StartError where nobody has said that they may."""
    hosts = [settings.host] if settings.http == "off" else [settings.host, settings.http_host]
    try:
        if (
            settings.token_file is None
            and settings.tls_client_ca is None
            and is_open(hosts, insecure=settings.insecure)
        ):
            log.warning("open to everybody who reaches the ports (setting insecure)", hosts=hosts)
    except OpenError as error:
        raise StartError(str(error)) from None


def _tls(settings: Settings, files: FileWatch) -> Tls | None:
    """What the ports speak beside plain TCP. Raises StartError."""
    try:
        tls = tls_of(settings, files)
    except TlsError as error:
        raise StartError(str(error)) from None
    if tls is not None and settings.proxy_protocol:
        raise StartError("with TLS, the ports take no headers of balancers (setting proxy_protocol)")
    if tls is not None and settings.http == "proxy":
        raise StartError("with TLS, HTTP is served inside, or by a proxy that you start (setting http)")
    return tls


def _gate(settings: Settings, registry: Registry, files: FileWatch) -> Gate | None:
    """What looks at every call, where there are tokens. Raises StartError."""
    if settings.token_file is None:
        return None
    try:
        access = Access(settings.token_file, METHODS)
    except TokenFileError as error:
        raise StartError(f"{error} (setting token_file)") from None
    files.add([settings.token_file], access.reload)
    return Gate(access, registry.default_name)


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Errors of models and proxy as StartError."""
    try:
        yield
    except (ModelError, ProxyError) as error:
        raise StartError(str(error)) from None


@contextlib.contextmanager
def _listening(host: str, port: int | None, setting: str) -> Iterator[None]:
    """Errors of opening a port as StartError."""
    try:
        yield
    except OSError as error:
        # uvloop's own text is long; that of an error of name resolution, whose number is negative, is the only one
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        where = host if port is None else f"{host}:{port}"
        raise StartError(f"cannot listen on {where} (setting {setting}): {reason}") from None


def _exit_now(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    sys.stderr.flush()
    os._exit(code)
