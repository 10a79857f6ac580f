"""Callers, by their tokens and certificates: what each may do, and how much.

`Access` reads the file of tokens, and reads it again when it has changed: the same `Caller` then has other rights.
"""

from __future__ import annotations

import inspect
import time
from fnmatch import fnmatchcase
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import structlog

from process.security import token_file
from process.security.token_file import LONGEST, TokenFileError, digest_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from process.security.token_file import Entry
    from process.timing import Times

UNAUTHENTICATED = "UNAUTHENTICATED"
PERMISSION_DENIED = "PERMISSION_DENIED"
OVERLOADED = "OVERLOADED"

RIGHTS = {
    "load_model": "load_models",
    "unload_model": "load_models",
    "submit_batch": "jobs",
    "get_batch": "jobs",
    "cancel_batch": "jobs",
    "resume_batch": "jobs",
    "list_batches": "jobs",
}
"""Methods that answer for no model, and the right that each needs."""

OPEN_METHODS = ("status",)
"""Anybody may call them; without the right of that name the answer says only whether the server is ready."""

EVERY_CALLER = ("list_models",)
"""Whoever is known may call them: the answer has the models that the caller may use."""

_STREAM_METHODS = ("generate_next", "generate_cancel")
_STREAM_BEGINNINGS = ("generate_begin", "chat_begin")
_UNCOUNTED = frozenset((*_STREAM_METHODS, *OPEN_METHODS, *EVERY_CALLER))

log = structlog.get_logger(__name__)

_now = time.monotonic


def method_names(interface: type) -> tuple[str, ...]:
    """The methods of a generated service's interface (`Iface`)."""
    return tuple(name for name, _ in inspect.getmembers(interface, inspect.isfunction))


class AccessError(Exception):
    """A call that is refused. `code` is UNAUTHENTICATED, PERMISSION_DENIED or OVERLOADED."""

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class Bucket:
    """So much a second, of which a second's share may be saved up."""

    __slots__ = ("_level", "_most", "_rate", "_seen")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._level = max(rate, 1.0)
        self._seen = _now()

    def take(self, amount: float) -> float:
        """Take it if it is there; else the seconds until it will be, instead of 0."""
        now = _now()
        level = self._level + (now - self._seen) * self._rate
        self._seen = now
        if level > self._most:
            level = self._most
        if level < amount:
            self._level = level
            return (amount - level) / self._rate
        self._level = level - amount
        return 0.0

    def spend(self, amount: float) -> None:
        """Take it, whether or not it is there."""
        self._level -= amount


class Grant:
    """What a caller may do, as the file says it now."""

    __slots__ = (
        "_known_models",
        "at_once",
        "expires_at",
        "in_flight",
        "may",
        "methods",
        "models",
        "name",
        "refusal",
        "requests_per_s",
        "tokens_per_s",
    )

    def __init__(self, name: str | None, methods: Iterable[str], refusal: str = "") -> None:
        """`refusal`: why nobody is known; empty of a caller who is."""
        self.name = name
        self.methods = frozenset(methods)
        self.refusal = refusal
        self.at_once: frozenset[str] = frozenset()
        """Methods that may be called without a further look at the call."""
        self.models: tuple[str, ...] | None = None
        """Patterns; None: all."""
        self.may: frozenset[str] = frozenset()
        self.requests_per_s: float | None = None
        self.tokens_per_s: float | None = None
        self.in_flight: int | None = None
        self.expires_at: float | None = None
        self._known_models: dict[str, bool] = {}

    @property
    def metered(self) -> bool:
        """Whether a call has to be watched to its end."""
        return self.in_flight is not None or self.tokens_per_s is not None

    def allows_model(self, name: str) -> bool:
        """Whether the model of this name may be used."""
        if self.models is None:
            return True
        known = self._known_models
        allowed = known.get(name)
        if allowed is None:
            allowed = any(fnmatchcase(name, pattern) for pattern in self.models)
            if len(known) < 1024:
                known[name] = allowed
        return allowed

    @property
    def shown(self) -> str:
        """Who it is, for messages."""
        return f"token {self.name!r}"


def _grant(name: str, entry: Entry, methods: Collection[str]) -> Grant:
    allowed = {
        method
        for method in methods
        if method not in RIGHTS and any(fnmatchcase(method, pattern) for pattern in entry.methods)
    }
    if any(method in allowed for method in _STREAM_BEGINNINGS):
        allowed.update(_STREAM_METHODS)
    allowed.update(method for method, right in RIGHTS.items() if right in entry.may)
    grant = Grant(name, (*allowed, *OPEN_METHODS, *EVERY_CALLER))
    grant.models = None if "*" in entry.models else tuple(entry.models)
    grant.may = frozenset(entry.may)
    grant.requests_per_s, grant.tokens_per_s = entry.requests_per_s, entry.tokens_per_s
    grant.in_flight = entry.in_flight
    grant.expires_at = entry.expires.timestamp() if entry.expires is not None else None
    limits = (grant.models, grant.requests_per_s, grant.tokens_per_s, grant.in_flight, grant.expires_at)
    if all(limit is None for limit in limits):
        grant.at_once = grant.methods.difference(OPEN_METHODS)
    return grant


class Caller:
    """Somebody who calls. `grant` is replaced when the file has changed."""

    __slots__ = ("_requests", "_tokens", "calls", "grant")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.calls = 0
        """In flight, of a caller whose number is limited."""
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self.update(grant)

    def update(self, grant: Grant) -> None:
        """From now on these are its rights; a rate that has not changed goes on."""
        old, self.grant = self.grant, grant
        if self._requests is None or old.requests_per_s != grant.requests_per_s:
            self._requests = Bucket(grant.requests_per_s) if grant.requests_per_s is not None else None
        if self._tokens is None or old.tokens_per_s != grant.tokens_per_s:
            self._tokens = Bucket(grant.tokens_per_s) if grant.tokens_per_s is not None else None

    def require(self, method: str) -> Grant:
        """Raise AccessError where the method of the contract may not be called, or not now."""
        grant = self.grant
        if method not in grant.methods or grant.expires_at is not None:
            self._require_slowly(method, grant)
        if (self._requests is not None or grant.in_flight is not None or self._tokens is not None) and (
            method not in _UNCOUNTED
        ):
            self._count(grant)
        return grant

    def require_right(self, right: str) -> None:
        """Raise AccessError without a right that belongs to no method of the contract."""
        grant = self.grant
        self.require_known()
        if right not in grant.may:
            raise AccessError(PERMISSION_DENIED, f"{grant.shown} may not do this; it needs the right {right!r}")

    def require_known(self) -> None:
        """Raise AccessError for who is not known."""
        grant = self.grant
        if grant.refusal:
            raise AccessError(UNAUTHENTICATED, grant.refusal)
        if grant.expires_at is not None and time.time() > grant.expires_at:
            raise AccessError(UNAUTHENTICATED, "the token has expired")

    def spend_tokens(self, count: int) -> None:
        """Count so many of a model's tokens."""
        if self._tokens is not None:
            self._tokens.spend(count)

    def _require_slowly(self, method: str, grant: Grant) -> None:
        if grant.refusal and method in grant.methods:
            return
        self.require_known()
        if method not in grant.methods:
            right = RIGHTS.get(method)
            needs = f"; it needs the right {right!r}" if right else ""
            raise AccessError(PERMISSION_DENIED, f"{grant.shown} may not call {method}{needs}")

    def _count(self, grant: Grant) -> None:
        if grant.in_flight is not None and self.calls >= grant.in_flight:
            message = f"{grant.shown} has {grant.in_flight} calls in flight, as many as it may"
            raise AccessError(OVERLOADED, message, 1000)
        if self._tokens is not None and (wait_s := self._tokens.take(0.0)) > 0:
            raise _over(grant, grant.tokens_per_s, "tokens", wait_s)
        if self._requests is not None and (wait_s := self._requests.take(1.0)) > 0:
            raise _over(grant, grant.requests_per_s, "requests", wait_s)


def _over(grant: Grant, rate: float | None, unit: str, wait_s: float) -> AccessError:
    message = f"{grant.shown} is over its rate of {rate:g} {unit} a second"
    return AccessError(OVERLOADED, message, int(wait_s * 1000) + 1)


class Access:
    """The callers of the file at `path`. Belongs to the event loop.

    `methods` are the contract's. Raises TokenFileError when the file cannot be used now; later on, what was read last
    stays in force then, and the log says why.
    """

    def __init__(self, path: Path, methods: Collection[str]) -> None:
        self.path = path
        self._methods = tuple(methods)
        self._by_name: dict[str, tuple[tuple[str | None, str | None], Caller]] = {}
        self._by_digest: dict[bytes, tuple[bytes, Caller]] = {}
        self._by_certificate: dict[str, Caller] = {}
        self._right: dict[str, Caller] = {}
        self.nobody = Caller(Grant(None, OPEN_METHODS, "a token is needed"))
        self._wrong = Caller(Grant(None, (), "the token is not known"))
        self._wrong_certificate = Caller(
            Grant(None, OPEN_METHODS, "the client's certificate has no name that is known")
        )
        self._put(token_file.read(path, self._methods))

    def reload(self) -> None:
        """Read the file again: it has changed."""
        try:
            entries = token_file.read(self.path, self._methods)
        except TokenFileError as error:
            log.error("the file of tokens cannot be used: the rights that were read last stay in force", why=str(error))
            return
        self._put(entries)
        log.info("tokens read again", path=str(self.path), tokens=len(entries))

    def by_token(self, token: str | None) -> Caller:
        """Whose token it is; without one, nobody."""
        if token is None:
            return self.nobody
        # Tokens that were right are found by Python's own hash, which is keyed with a secret of the process, and all
        # others by their SHA-256: how long either takes tells nothing about a token.
        known = self._right.get(token)
        if known is not None:
            return known
        if len(token) > LONGEST:
            return self._wrong
        digest = digest_of(token)
        found = self._by_digest.get(digest)
        if found is None or not compare_digest(found[0], digest):
            return self._wrong
        self._right[token] = found[1]
        return found[1]

    def by_headers(self, headers: Mapping[str, str]) -> Caller:
        """Who sends HTTP's headers, see `token_of`."""
        authorization = headers.get("Authorization")
        if authorization is None:
            return self.by_token(headers.get("X-Api-Key"))
        known = self._right.get(authorization)
        if known is None:
            known = self.by_token(token_of(headers))
            if not known.grant.refusal:
                self._right[authorization] = known
        return known

    def by_certificate(self, names: Iterable[str]) -> Caller:
        """Who has a certificate with these names."""
        for name in names:
            caller = self._by_certificate.get(name)
            if caller is not None:
                return caller
        return self._wrong_certificate

    def _put(self, entries: Mapping[str, Entry]) -> None:
        before, self._by_name = self._by_name, {}
        self._by_digest, self._by_certificate, self._right = {}, {}, {}
        for name, entry in entries.items():
            known_by, grant = (entry.sha256, entry.certificate), _grant(name, entry, self._methods)
            kept = before.get(name)
            if kept is not None and kept[0] == known_by:
                caller = before.pop(name)[1]
                caller.update(grant)
            else:
                caller = Caller(grant)
            self._by_name[name] = known_by, caller
            if entry.sha256 is not None:
                digest = bytes.fromhex(entry.sha256)
                self._by_digest[digest] = digest, caller
            if entry.certificate is not None:
                self._by_certificate[entry.certificate] = caller
        for _, gone in before.values():  # connections and requests may still have it
            gone.update(self._wrong.grant)


class Visit:
    """A caller at one of the ports: of a connection, or of a request. `transport` tells the address, for the log."""

    __slots__ = ("address", "caller", "kept", "port", "times", "token", "transport")

    def __init__(self, caller: Caller | None, port: str, transport: Any, token: str | None = None) -> None:
        self.caller = caller
        """None where it is for others to say: the proxy hands `token` on."""
        self.port = port
        self.transport = transport
        self.token = token
        self.address: str | None = None
        """The client's, where the transport does not tell: of a balancer's connection, of one in another thread."""
        self.times: Times | None = None
        """Of the request, where it is to be told how long it took."""
        self.kept: Any = None
        """What whoever answers keeps for the next request of the same."""

    def peer(self) -> str:
        """The client's address."""
        if self.address is not None:
            return self.address
        if self.transport is None:
            return "unknown"
        name = self.transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a unix socket"

    def refused(self, code: str, why: str, what: str) -> None:
        """One line of the log, with nothing secret in it: `what` is the method or the path."""
        caller = self.caller.grant.name if self.caller is not None else None
        log.warning("access refused", code=code, what=what, why=why, caller=caller, port=self.port, peer=self.peer())


def token_of(headers: Mapping[str, str]) -> str | None:
    """The token in HTTP's headers: `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`."""
    authorization = headers.get("Authorization")
    if authorization is not None and authorization[:7] in ("Bearer ", "bearer ", "BEARER "):
        return authorization[7:].strip()
    return headers.get("X-Api-Key")
