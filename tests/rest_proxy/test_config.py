"""Settings: command line before environment before default, and a clear word for what is wrong."""

from __future__ import annotations

import pytest

from process.settings import declared
from process.version import VERSION
from rest_proxy.config import Address, Settings, parse_address, parse_settings


def test_defaults() -> None:
    settings = parse_settings([])
    assert settings.thrift == (Address("127.0.0.1", 9090),)
    assert (settings.host, settings.port, settings.access_log) == ("127.0.0.1", 8080, False)


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_REST_THRIFT", "a:1, [::1]:2")
    monkeypatch.setenv("PREDICTOR_REST_PORT", "81")
    monkeypatch.setenv("PREDICTOR_REST_ACCESS_LOG", "true")
    settings = parse_settings(["--port", "82", "--no-access-log"])
    assert settings.thrift == (Address("a", 1), Address("::1", 2))
    assert (settings.port, settings.access_log) == (82, False)
    assert parse_settings(["--thrift", "b:3"]).access_log is True


def test_no_default_is_longer_than_the_longest_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_REST_GENERATION_TIMEOUT_MS", "30000")
    settings = parse_settings(["--max-timeout-ms", "5000"])
    assert (settings.timeout_ms, settings.generation_timeout_ms) == (5000, 5000)
    settings = parse_settings(["--max-timeout-ms", "40000"])
    assert (settings.timeout_ms, settings.generation_timeout_ms) == (10_000, 30_000)


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "host:-1", "host:٣"])
def test_an_address_is_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(text)


def test_addresses_are_written_as_they_are_read() -> None:
    for text in ("127.0.0.1:9090", "[::1]:9090", "name.example:1"):
        assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "argument --port (PREDICTOR_REST_PORT): Input should be a valid integer"),
        (["--port", "65536"], "argument --port (PREDICTOR_REST_PORT): Input should be less than or equal to 65535"),
        (["--thrift", "a:1,b"], "argument --thrift (PREDICTOR_REST_THRIFT): 'b' is not HOST:PORT"),
        (["--max-docs", "0"], "argument --max-docs (PREDICTOR_REST_MAX_DOCS): Input should be greater"),
        (
            ["--max-timeout-ms", "0"],
            "argument --max-timeout-ms (PREDICTOR_REST_MAX_TIMEOUT_MS): Input should be greater",
        ),
        (["--log-level", "loud"], "argument --log-level (PREDICTOR_REST_LOG_LEVEL): Input should be 'debug'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_says_which(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_wrong_environment_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREDICTOR_REST_MAX_REQUESTS", "many")
    with pytest.raises(SystemExit):
        parse_settings([])
    assert "(PREDICTOR_REST_MAX_REQUESTS): Input should be a valid integer" in capsys.readouterr().err


def test_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PREDICTOR_REST_MAX_DOC", "1")
    monkeypatch.setenv("PREDICTOR_QUEUE_ITEM", "the server's, which says so itself")
    with pytest.raises(SystemExit) as ended:
        parse_settings([])
    assert ended.value.code == 2
    wrong = "unknown environment variable PREDICTOR_REST_MAX_DOC; did you mean PREDICTOR_REST_MAX_DOCS?"
    assert capsys.readouterr().err.endswith(f"{wrong}\n")


def test_what_a_server_sends_is_what_its_proxy_gets() -> None:
    sent = Settings(thrift=(Address("::1", 1), Address("b", 2)), max_docs=3, access_log=True)
    assert Settings.model_validate_json(sent.model_dump_json()) == sent


def test_what_a_server_sends_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Settings().model_dump_json()
    monkeypatch.setenv("PREDICTOR_REST_MAX_DOCS", "7")
    assert Settings.model_validate_json(sent).max_docs == 2048


def test_help_tells_every_setting_its_default_and_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for setting in declared(Settings).values():
        assert setting.flag in text
        assert f"[{setting.variable}]" in text
        assert setting.help in text
    assert "(default 127.0.0.1:9090)" in text
    assert "(1024 to 1073741824; default 8388608)" in text


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"predictor-service {VERSION}\n")


def test_a_host_gives_the_port_by_port_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Cloud Run does."""
    monkeypatch.setenv("PORT", "2")
    assert parse_settings([]).port == 2
    monkeypatch.setenv("PREDICTOR_REST_PORT", "3")
    assert parse_settings([]).port == 3
    assert parse_settings(["--port=4"]).port == 4
