"""Settings: one definition, four places that they can come from. The command line's refusals are in tests/e2e."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from server.config import ENV_PREFIX, Settings, flag, parse_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def test_one_model_and_nothing_else() -> None:
    settings = parse_settings(["models/classifier.pt"])
    assert settings.model == ("models/classifier.pt",)
    assert (settings.host, settings.port, settings.rest_port, settings.rest) == ("127.0.0.1", 9090, 8080, True)


def test_models_keep_their_order() -> None:
    assert parse_settings(["a.pt", "--model", "b=c.pt", "--model=d.pt"]).model == ("a.pt", "b=c.pt", "d.pt")
    assert parse_settings(["--model=b=c.pt"]).model == ("b=c.pt",)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port_thrift", "1"], {"port": 1}),
        (["--port_thrift=1", "--port_rest=2"], {"port": 1, "rest_port": 2}),
        (["--norest"], {"rest": False}),
        (["--no-rest"], {"rest": False}),
        (["--norest", "--rest"], {"rest": True}),
    ],
)
def test_flags_of_pytexts_server(arguments: list[str], expected: dict[str, object]) -> None:
    settings = parse_settings(["m.pt", *arguments])
    assert {name: getattr(settings, name) for name in expected} == expected


def test_the_command_line_goes_before_the_environment_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "server.toml"
    file.write_text('model = ["file.pt"]\nport = 1\nqueue_items = 2\nbatch_items = 3\n')
    monkeypatch.setenv("PREDICTOR_QUEUE_ITEMS", "12")
    monkeypatch.setenv("predictor_batch_items", "13")
    settings = parse_settings(["--config", str(file), "--batch-items=23"])
    assert (settings.port, settings.queue_items, settings.batch_items) == (1, 12, 23)
    assert settings.model == ("file.pt",)


def test_the_file_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("hold = 5\n")
    monkeypatch.setenv("PREDICTOR_CONFIG", str(file))
    assert parse_settings(["m.pt"]).hold == 5


def test_models_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_MODEL", "a.pt,b=c.pt,")
    assert parse_settings([]).model == ("a.pt", "b=c.pt")
    assert parse_settings(["d.pt"]).model == ("d.pt",)


def test_every_setting_is_in_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert f" {flag(name)} " in shown or f" {flag(name)}, " in shown
        assert field.description
        assert re.search(rf"{re.escape(field.description)}(; default [^ ]+)? \[{ENV_PREFIX}{name.upper()}\]", shown)


def test_nothing_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings([])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_device_for_one_model() -> None:
    settings = parse_settings(["m.pt", "--device", "cuda", "--model-device", "a=cuda:1", "--model-device", "b=cpu"])
    assert [settings.of_model(name).device for name in ("m", "a", "b")] == ["cuda", "cuda:1", "cpu"]
    assert settings.of_model("b") == settings.model_copy(update={"device": "cpu"})


@pytest.mark.parametrize(
    "argument",
    [
        *("--queue-items=0", "--queue-items=x", "--unknown=1", "--log-level=loud"),
        *("--model-device=cuda", "--model-device=a=", "--model-device==cuda"),
    ],
)
def test_what_is_wrong_exits_with_2(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["m.pt", argument])
    assert caught.value.code == 2
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_one_core_is_left_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=cores: set(range(count)))
        assert Settings().workers == workers
        assert Settings(replicas=3).workers == 3


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1
