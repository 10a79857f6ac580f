"""Settings: one definition, four places that they can come from. The command line's refusals are in tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from process.settings import declared
from process.version import VERSION
from rest_proxy.config import Address
from server.config import ENV_PREFIX, Settings, parse_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def test_one_model_and_nothing_else() -> None:
    settings = parse_settings(["models/classifier.pt"])
    assert settings.model == ("models/classifier.pt",)
    assert (settings.host, settings.port, settings.rest_port, settings.http) == ("127.0.0.1", 9090, 8080, "inside")


def test_models_keep_their_order() -> None:
    assert parse_settings(["a.pt", "--model", "b=c.pt", "--model=d.pt"]).model == ("a.pt", "b=c.pt", "d.pt")
    assert parse_settings(["--model=b=c.pt"]).model == ("b=c.pt",)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port_thrift", "1"], {"port": 1}),
        (["--port_thrift=1", "--port_rest=2"], {"port": 1, "rest_port": 2}),
        (["--norest"], {"http": "off"}),
        (["--no-rest"], {"http": "off"}),
        (["--norest", "--http=proxy"], {"http": "proxy"}),
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
    for setting in declared(Settings).values():
        assert f" {setting.flag} " in shown or f" {setting.flag}, " in shown
        assert f"{setting.title}: " in shown
        brackets = [setting.range] if setting.range and not setting.choices else []
        brackets += [f"default {setting.default}"] if setting.default != "none" else []
        parts = [setting.help, f"({'; '.join(brackets)})" if brackets else "", f"[{setting.variable}]"]
        assert " ".join(part for part in parts if part) in shown


def test_nothing_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings([])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m server ")
    assert "python -m server models/classifier.pt" in said
    assert "`python -m server --help` lists all settings" in said
    assert len(said.splitlines()) <= 24, "no more than a screen"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"predictor-service {VERSION}\n")


def test_a_list_on_the_command_line_keeps_its_commas() -> None:
    assert parse_settings(["m,1.pt", "--batch-roots", "/a,b"]).model_dump(include={"model", "batch_roots"}) == {
        "model": ("m,1.pt",),
        "batch_roots": (Path("/a,b"),),
    }


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a command line that is refused with 2."""
    with pytest.raises(SystemExit) as caught:
        parse_settings(["m.pt", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("PREDICTOR_QUEUE_ITEM", "; did you mean PREDICTOR_QUEUE_ITEMS?"),
        ("predictor_restmaxdocs", "; did you mean PREDICTOR_REST_MAX_DOCS?"),
        ("PREDICTOR_XYZ", ""),
    ],
)
def test_a_misspelt_variable(
    variable: str, nearest: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    assert refusal(capsys).endswith(f"error: unknown environment variable {variable}{nearest}\n")


def test_variables_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREDICTOR_NO_EXTENSION", "PREDICTOR_REST_THRIFT", "PREDICTOR_REST_READY_FD"):
        monkeypatch.setenv(name, "a:1")
    assert parse_settings(["m.pt"]).model == ("m.pt",)


def test_a_misspelt_flag(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "--queue-item=5")
    assert said.endswith("error: unrecognized arguments: --queue-item=5; did you mean --queue-items?\n")


def test_a_misspelt_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("queue_item = 1\n")
    said = refusal(capsys, f"--config={file}")
    assert said.endswith(f"error: argument --config: {file}: unknown setting queue_item; did you mean queue_items?\n")


def test_the_proxy_gets_what_it_does_not_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_REST_MAX_DOCS", "7")
    settings = parse_settings(
        [
            *("m.pt", "--host=::1", "--max-timeout-ms=5000", "--timeout-ms=4000", "--message-bytes=4096"),
            *("--drain-timeout-ms=1000", "--log-level=debug", "--log-format=json", "--rest-access-log"),
        ]
    )
    proxy = settings.of_proxy(Address("::1", 9090))
    assert proxy.thrift == (Address("::1", 9090),)
    assert (proxy.host, proxy.port, proxy.max_docs, proxy.access_log) == ("::1", 8080, 7, True)
    assert (proxy.max_timeout_ms, proxy.timeout_ms, proxy.generation_timeout_ms) == (5000, 4000, 5000)
    assert (proxy.max_body_bytes, proxy.drain_timeout_ms) == (8 << 20, 800)
    assert (proxy.log_level, proxy.log_format) == ("debug", "json")


def test_the_proxy_gets_what_is_said_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_REST_MAX_BODY_BYTES", "2048")
    arguments = ["m.pt", "--rest-host=0.0.0.0", "--rest-timeout-ms=1", "--rest-log-level=error"]
    proxy = parse_settings([*arguments, "--rest-drain-timeout-ms=5"]).of_proxy(Address("::1", 9090))
    assert (proxy.host, proxy.timeout_ms, proxy.log_level, proxy.drain_timeout_ms) == ("0.0.0.0", 1, "error", 5)
    assert proxy.max_body_bytes == 2048


def test_no_time_to_drain_is_a_little_for_the_proxy() -> None:
    assert Settings(drain_timeout_ms=0).of_proxy(Address("::1", 9090)).drain_timeout_ms == 1


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


def test_a_host_gives_the_http_port_by_port_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Cloud Run does."""
    config = tmp_path / "server.toml"
    config.write_text("rest_port = 1")
    monkeypatch.setenv("PORT", "2")
    assert parse_settings(["m.pt"]).rest_port == 2
    assert parse_settings(["m.pt", f"--config={config}"]).rest_port == 2
    assert parse_settings(["m.pt", "--rest-port=4"]).rest_port == 4
    monkeypatch.setenv("PREDICTOR_REST_PORT", "3")
    assert parse_settings(["m.pt"]).rest_port == 3
    assert parse_settings(["m.pt"]).port == 9090


def test_one_core_is_left_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=cores: set(range(count)))
        assert Settings().workers == workers
        assert Settings(replicas=3).workers == 3


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1
