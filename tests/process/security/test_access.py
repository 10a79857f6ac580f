"""Callers and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog

from process.security import access
from process.security.access import Access, AccessError, Bucket, Visit, token_of
from tests.support.tokens import TokenFile

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ("predict", "embed", "generate_begin", "generate_next", "generate_cancel", "load_model", "status")
ALWAYS = {"status", "list_models"}


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.toml")


class Clock:
    """Time that the test makes."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(access, "_now", made)
    return made


def test_a_bucket(clock: Clock) -> None:
    bucket = Bucket(2.0)
    assert [bucket.take(1.0), bucket.take(1.0)] == [0.0, 0.0]
    assert bucket.take(1.0) == 0.5
    clock.now = 0.5
    assert bucket.take(1.0) == 0.0
    clock.now = 100.0
    assert [bucket.take(1.0), bucket.take(1.0), bucket.take(1.0)] == [0.0, 0.0, 0.5]
    bucket.spend(10.0)
    assert bucket.take(0.0) == 5.0


def test_methods(tokens: TokenFile) -> None:
    known = {
        "all": tokens.add("all"),
        "texts": tokens.add("texts", methods=["generate*"]),
        "none": tokens.add("none", methods=[], may=["load_models"]),
    }
    tokens.write()
    callers = Access(tokens.path, METHODS)
    grants = {name: callers.by_token(token).grant for name, token in known.items()}
    streams = {"generate_begin", "generate_next", "generate_cancel"}
    assert grants["all"].methods == {*streams, "predict", "embed", *ALWAYS}
    assert grants["texts"].methods == {*streams, *ALWAYS}
    assert grants["none"].methods == {"load_model", "unload_model", *ALWAYS}


def test_who_is_who(tokens: TokenFile) -> None:
    token = tokens.add("app")
    tokens.write()
    callers = Access(tokens.path, METHODS)
    for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"bearer {token} "}, {"X-Api-Key": token}):
        for _ in range(2):  # the second time it is known
            assert callers.by_headers(headers).grant.name == "app"
    for wrong in (f"{token}x", token[:-1], "", "é", "\udcff", "x" * 100_000):
        assert callers.by_token(wrong).grant.refusal == "the token is not known"
    assert callers.by_headers({}) is callers.nobody
    assert token_of({"Authorization": "Basic YTpi"}) is None


def test_another_file(tokens: TokenFile, clock: Clock) -> None:
    """What a connection holds has the new rights; a rate goes on where it is the same."""
    token = tokens.add("app", requests_per_s=1.0)
    tokens.write()
    callers = Access(tokens.path, METHODS)
    caller = callers.by_token(token)
    caller.require("predict")
    tokens.add("app", requests_per_s=1.0, methods=["embed"])
    tokens.write()
    callers.reload()
    assert callers.by_token(token) is caller
    with pytest.raises(AccessError, match="may not call predict"):
        caller.require("predict")
    with pytest.raises(AccessError, match="over its rate"):
        caller.require("embed")
    clock.now = 1.0
    caller.require("embed")
    tokens.tokens.clear()
    other = tokens.add("app")
    tokens.write()
    callers.reload()
    with pytest.raises(AccessError) as caught:
        caller.require("embed")
    assert caught.value.code == "UNAUTHENTICATED"
    assert callers.by_token(token).grant.refusal
    assert callers.by_token(other).require("embed").name == "app"


def test_a_file_that_is_wrong_changes_nothing(tokens: TokenFile) -> None:
    token = tokens.add("app")
    tokens.write()
    callers = Access(tokens.path, METHODS)
    for spoil in (lambda: tokens.path.write_text("app = "), tokens.path.unlink):
        spoil()
        with structlog.testing.capture_logs() as logs:
            callers.reload()
        assert [entry["log_level"] for entry in logs] == ["error"]
        assert callers.by_token(token).grant.name == "app"


def test_it_expires(tokens: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.add("app")
    tokens.lines["app"] = tokens.lines["app"].replace(" }", ", expires = 2030-01-01 }")
    tokens.write()
    caller = Access(tokens.path, METHODS).by_token(token)
    caller.require("predict")
    monkeypatch.setattr(access.time, "time", lambda: 1_893_542_400.0)  # 2030-01-02
    with pytest.raises(AccessError, match="has expired"):
        caller.require("predict")


class Transport:
    """Of a connection whose other end has this name."""

    def __init__(self, name: Any) -> None:
        self._name = name

    def get_extra_info(self, _what: str) -> Any:
        return self._name


@pytest.mark.parametrize(
    ("transport", "address", "peer"),
    [
        (Transport(("192.0.2.7", 4711)), None, "192.0.2.7:4711"),
        (Transport(("192.0.2.8", 443)), "192.0.2.7:4711", "192.0.2.7:4711"),  # the first is a balancer
        (Transport(""), None, "a unix socket"),
        (None, "192.0.2.7", "192.0.2.7"),
        (None, None, "unknown"),
    ],
)
def test_the_log_says_who_was_refused(transport: Any, address: str | None, peer: str) -> None:
    visit = Visit(None, "thrift", transport)
    visit.address = address
    assert visit.peer() == peer
