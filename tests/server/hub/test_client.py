"""What a hub that gives no list of files is said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server.hub.client import Hub
from server.hub.errors import HubError, HubUnavailableError
from server.hub.location import parse
from server.hub.stop import Stop
from tests.support.service import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub import LocalHub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def refusal(name: str = "owner/name", revision: str = "main") -> HubError:
    with pytest.raises(HubError) as caught:
        Hub().listing(parse(name, revision), Stop())
    return caught.value


def test_a_list(hub: LocalHub, folder: Path) -> None:
    served = hub.add("owner/name", folder, revisions=("main", "refs/pr/1"))
    for revision in ("main", "refs/pr/1", served.commit):
        listing = Hub().listing(parse("owner/name", revision), Stop())
        assert (listing.commit, list(listing.files)) == (served.commit, ["config.json"])


def test_no_such_model(hub: LocalHub) -> None:
    message = str(refusal())
    assert f"{hub.address} has no model owner/name, or does not show it to everybody" in message
    assert "For a private one set HF_TOKEN; no token was sent" in message


def test_no_such_revision(hub: LocalHub, folder: Path) -> None:
    hub.add("owner/name", folder)
    assert str(refusal(revision="v9")) == "owner/name has no revision v9: it is a branch, a tag or a commit"


def test_a_gated_model(hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("owner/name", folder, token="right")
    message = str(refusal())
    assert f"owner/name is gated: accept its terms at {hub.address}/owner/name, and set HF_TOKEN" in message
    assert message.endswith("no token was sent")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    message = str(refusal())
    assert message.endswith("HF_TOKEN was sent, which is wrong or has no right to it")
    assert "'wrong'" not in message
    monkeypatch.setenv("HF_TOKEN", "right")
    assert Hub().listing(parse("owner/name"), Stop()).files


def test_a_private_model(hub: LocalHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("owner/name", folder, token="right", is_private=True)
    assert "has no model owner/name, or does not show it to everybody" in str(refusal())
    (tmp_path / "no-token").write_text("stored")
    assert "a stored token was sent, which is wrong or has no right to it" in str(refusal())
    monkeypatch.setenv("HF_TOKEN", "right")
    assert Hub().listing(parse("owner/name"), Stop()).files


def test_nobody_is_there(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    error = refusal()
    assert isinstance(error, HubUnavailableError)
    assert f"no model hub can be reached at {nobody.rstrip('/')}: " in str(error)
    assert "Name another one by HF_ENDPOINT" in str(error)
    monkeypatch.setenv("HF_ENDPOINT", "nothing")
    assert "no model hub can be reached at nothing: " in str(refusal())


def test_a_busy_hub(hub: LocalHub, folder: Path) -> None:
    hub.add("owner/name", folder)
    hub.busy = 2
    assert Hub().listing(parse("owner/name"), Stop()).files
    hub.busy = 99
    error = refusal()
    assert isinstance(error, HubUnavailableError)
    assert str(error) == f"{hub.address} answers 503 to the list of files of owner/name"


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "7"}, [7, 7]),
        ({"Retry-After": "100000"}, [300, 300]),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, [0, 0]),
        ({"RateLimit": '"api";r=0;t=55'}, [55, 55]),
        ({"RateLimit": '"api";r=9;t=55'}, [0, 0]),
    ],
)
def test_a_hub_is_waited_for_as_long_as_it_asks(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], waits: list[int]
) -> None:
    hub.add("owner/name", folder)
    hub.busy, hub.busy_headers = 2, headers
    waited: list[float] = []
    monkeypatch.setattr(Stop, "wait", lambda _, seconds: waited.append(seconds))
    assert Hub().listing(parse("owner/name"), Stop()).files
    assert waited == waits


def test_offline(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal()
    assert isinstance(error, HubUnavailableError)
    assert str(error) == "HF_HUB_OFFLINE is set: no hub is asked"
    assert hub.asked == []


@pytest.mark.parametrize("siblings", [None, 3, "config.json", [3], [{}], [{"rfilename": "a"}], [{"lfs": 7}]])
def test_answers_that_are_none(hub: LocalHub, folder: Path, siblings: Any) -> None:
    hub.add("owner/name", folder, siblings=lambda _: siblings)
    if siblings is None:
        assert Hub().listing(parse("owner/name"), Stop()).files == {}
        return
    message = str(refusal())
    assert "does not answer as a model hub does" in message or "does not say the size" in message


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (404, {}, "has no model owner/name"),
        (
            403,
            {"X-Error-Message": "Access to this resource is disabled."},
            "access to owner/name is disabled",
        ),
        (403, {}, "owner/name is gated"),
        (400, {}, "answers 400 to the list of files of owner/name"),
        (410, {}, "answers 410 to the list of files of owner/name"),
    ],
)
def test_other_statuses(hub: LocalHub, status: int, headers: dict[str, str], reason: str) -> None:
    hub.status = (status, headers)
    error = refusal()
    assert reason in str(error)
    assert not isinstance(error, HubUnavailableError)


def test_a_page_instead_of_a_list(hub: LocalHub) -> None:
    hub.status = (200, {})
    assert f"{hub.address} does not answer as a model hub does" in str(refusal())


def test_stopped(hub: LocalHub) -> None:
    stop = Stop()
    stop.set("no more")
    stop.set("the first reason is kept")
    with pytest.raises(HubUnavailableError, match="no more"):
        Hub().listing(parse("owner/name"), stop)
    assert stop.is_set
    assert hub.asked == []
