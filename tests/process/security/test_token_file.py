"""The file of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from process.security.token_file import TokenFileError, digest_of, new_token, read
from server.tokens import line_of, main

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ("predict", "predict_batch", "embed")
GOOD = f'sha256 = "{"ab" * 32}"'


def refusal(tmp_path: Path, text: str) -> str:
    """Why the file cannot be used, without its path."""
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(TokenFileError) as caught:
        read(path, METHODS)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("secret", "not TOML, end of document"),
        ("a = 1", "a: Input should be a valid dictionary or instance of Entry"),
        ("a = {}", "a: neither sha256 nor certificate says how it is known"),
        ('a = { sha256 = "secret" }', "a.sha256: String should match pattern '^[0-9a-f]{64}$'"),
        (f"a = {{ {GOOD}, secret = 1 }}", "a.secret: Extra inputs are not permitted"),
        (f'a = {{ {GOOD}, methods = ["chat"] }}', "a.methods: no method is named 'chat'"),
        (f'a = {{ {GOOD}, may = ["all"] }}', "a.may.0: Input should be 'load_models', 'jobs', 'metrics' or 'status'"),
        (f"a = {{ {GOOD}, requests_per_s = 0 }}", "a.requests_per_s: Input should be greater than 0"),
        (f"a = {{ {GOOD}, in_flight = 1.5 }}", "a.in_flight: Input should be a valid integer"),
        (f"a = {{ {GOOD} }}\nb = {{ {GOOD} }}", "a and b have the same sha256"),
        (f'"a b" = {{ {GOOD} }}', "'a b' cannot be a token's name"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert refusal(tmp_path, text) == reason


def test_what_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    token = new_token()
    for text in (f"a = {{ sha256 = '{token}' }}", f"a = {token}", f"{token}", f"a = {{ {GOOD}, may = ['{token}'] }}"):
        assert token[3:] not in refusal(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        read(tmp_path / "none", METHODS)


def test_the_command_makes_a_line_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens.toml"
    assert main(["app", "--file", str(path), "--methods", "embed*", "--may", "jobs", "--expires", "2031-01-02"]) == 0
    assert main(["ops", "--file", str(path), "--requests-per-s", "2.5", "--in-flight", "3"]) == 0
    app, ops = capsys.readouterr().out.split()
    assert path.stat().st_mode & 0o777 == 0o600
    entries = read(path, ("embed",))
    assert entries["app"].sha256 == digest_of(app).hex()
    assert (entries["app"].may, str(entries["app"].expires)[:10]) == (["jobs"], "2031-01-02")
    assert (entries["ops"].requests_per_s, entries["ops"].in_flight) == (2.5, 3)
    assert ops not in path.read_text()


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens.toml"
    assert main(["app", "--file", str(path)]) == 0
    assert main(["app", "--file", str(path)]) == 1
    assert main(["x", "--methods", "fly"]) == 1
    assert main(["a b"]) == 1
    errors = capsys.readouterr().err
    assert "there is a token named app" in errors
    assert "no method is named 'fly'" in errors


def test_a_line_has_no_token() -> None:
    token = new_token()
    assert token not in line_of("app", token, {})
