"""Settings of a program that has flags of its own: what tests/server/test_config.py and its like leave to say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from process.command_line import Command, SettingError, called_as, load
from process.settings import CommandSettings, Paths, SettingsGroup, Strings, declared, prefixed, setting


class Sizes(SettingsGroup, title="Sizes"):
    """Numbers."""

    width: int = setting(3, "width of a thing", to="nobody", unit="bytes", ge=1, le=9)
    share: float = setting(0.5, "share of a thing", to="nobody", gt=0, lt=1)
    loud: bool = setting(False, "say more", to="nobody")


class Places(SettingsGroup, title="Places"):
    """Lists."""

    names: Strings = setting((), "a name", to=("nobody", "somebody"))
    folders: Paths = setting((Path("/a"), Path("/b")), "a folder", to="nobody")


class Settings(Sizes, Places, CommandSettings):
    """Two groups."""

    model_config = SettingsConfigDict(env_prefix="TESTED_")


COMMAND = Command("tested", "predictor-tested", "Is tested.", "  {program} --width 4", config=True)


def wrong(**given: object) -> str:
    """What is said of settings that are wrong."""
    with pytest.raises(SettingError) as caught:
        load(Settings, COMMAND, given)
    return str(caught.value)


def test_what_is_declared() -> None:
    found = declared(Settings)
    assert [(about.title, name) for name, about in found.items()] == [
        *(("Sizes", "width"), ("Sizes", "share"), ("Sizes", "loud")),
        *(("Places", "names"), ("Places", "folders")),
    ]
    assert [about.default for about in found.values()] == ["3", "0.5", "off", "none", "/a,/b"]
    assert [about.range for about in found.values()] == ["1 to 9", "over 0, below 1", "", "", ""]
    assert (found["width"].flag, found["width"].variable, found["width"].unit) == ("--width", "TESTED_WIDTH", "bytes")
    assert found["names"].to == ("nobody", "somebody")


def test_a_program_goes_before_the_environment_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('width = 1\nshare = 0.1\nnames = ["a,b"]\n')
    monkeypatch.setenv("TESTED_CONFIG", str(file))
    monkeypatch.setenv("TESTED_WIDTH", "2")
    monkeypatch.setenv("TESTED_SHARE", "0.2")
    monkeypatch.setenv("tested_folders", "/c,/d")
    settings = load(Settings, COMMAND, {"width": 4})
    assert (settings.width, settings.share, settings.names) == (4, 0.2, ("a,b",))
    assert settings.folders == (Path("/c"), Path("/d"))
    assert settings.model_fields_set == {"width", "share", "names", "folders"}


def test_no_flag_is_named_where_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESTED_WIDTH", "10")
    assert wrong() == "TESTED_WIDTH: Input should be less than or equal to 9"
    monkeypatch.setenv("TESTED_WIDTH", "9")
    monkeypatch.setenv("TESTED_CONFIG", str(tmp_path / "missing"))
    assert wrong().startswith(f"TESTED_CONFIG: {tmp_path / 'missing'}: ")
    (tmp_path / "missing").write_text("wide = 1\n")
    assert wrong().endswith(": unknown setting wide; did you mean width?")
    monkeypatch.setenv("TESTED_WITH", "1")
    assert wrong() == "unknown environment variable TESTED_WITH; did you mean TESTED_WIDTH?"


def test_settings_of_a_child() -> None:
    group = prefixed(Settings, "child_", title="Child", to="child", left_out=["loud"], follow={"width": "height"})

    class Parent(group, CommandSettings):  # type: ignore[misc, valid-type]
        """Has a child."""

        model_config = SettingsConfigDict(env_prefix="PARENT_")

    found = declared(Parent)
    assert list(found) == ["child_width", "child_share", "child_names", "child_folders"]
    assert {(about.title, about.to) for about in found.values()} == {("Child", ("child",))}
    assert (found["child_width"].default, found["child_width"].range) == ("that of height", "1 to 9")
    assert Parent().model_dump() == {
        "child_width": None,
        "child_share": 0.5,
        "child_names": (),
        "child_folders": (Path("/a"), Path("/b")),
    }
    with pytest.raises(ValueError, match="less than or equal to 9"):
        Parent(child_width=10)


@pytest.mark.parametrize(
    ("first", "program"),
    [
        ("/opt/predictor/bin/predictor-tested", "predictor-tested"),
        ("/opt/predictor/lib/tested/__main__.py", "python -m tested"),
        ("-c", "python -m tested"),
    ],
)
def test_a_command_is_named_as_it_was_called(monkeypatch: pytest.MonkeyPatch, first: str, program: str) -> None:
    monkeypatch.setattr("sys.argv", [first])
    assert called_as("tested", "predictor-tested") == program
    assert COMMAND.usage == f"{program} [--SETTING VALUE ...]"
    assert f"\nexamples:\n  {program} --width 4\n" in COMMAND.short_help
    assert COMMAND.short_help.endswith(f"`{program} --help` lists all settings.\n")
