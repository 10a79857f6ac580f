"""The server's own files are for no job, whatever path leads to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from server.batch.storage.access import Storage
from server.batch.storage.errors import LocationError
from server.batch.storage.own_files import OwnFile, own_files
from server.config import Settings
from tests.support.stores import write_tree


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Everything below the folder, in which there are jobs' records, a key and models."""
    write_tree(
        tmp_path, {"jobs.db": b"", "keys/tls.pem": b"", "models/m.pt": b"", "encoder/config.json": b"{}", "a": b""}
    )
    settings = Settings(
        jobs_db=tmp_path / "jobs.db",
        tls_key=tmp_path / "keys" / "tls.pem",
        tls_certificate=tmp_path / "keys" / "tls.pem",
        model_root=tmp_path / "models",
        model=(f"e={tmp_path}/encoder,precision=int8", "openai://host:1/name"),
        batch_roots=(tmp_path,),
    )
    return Storage(settings.batch_roots, own=own_files(settings))


@pytest.mark.parametrize(
    ("location", "purpose", "setting"),
    [
        ("jobs.db", "write", "jobs_db"),
        ("jobs.db", "read", "jobs_db"),
        ("jobs.db-wal", "write", "jobs_db"),
        ("jobs.db.lock", "write", "jobs_db"),
        ("jobs.db.copies/x", "write", "jobs_db"),
        ("keys/tls.pem", "read", "tls_"),
        ("keys/tls.pem", "write", "tls_"),
        ("models/m.pt", "write", "model_root"),
        ("models/new/x", "write", "model_root"),
        ("models/", "write", "model_root"),
        ("encoder/config.json", "write", "model"),
    ],
)
def test_own_files_are_refused(
    storage: Storage, tmp_path: Path, location: str, purpose: Literal["read", "write"], setting: str
) -> None:
    with pytest.raises(LocationError, match="is the server's own") as refused:
        storage.check(f"{tmp_path}/{location}", purpose)
    assert str(refused.value.setting).startswith(setting)
    if purpose == "write" and not location.endswith("/"):
        with pytest.raises(LocationError, match="is the server's own"), storage.create(f"{tmp_path}/{location}"):
            pass


@pytest.mark.parametrize(
    ("location", "purpose"),
    [("models/m.pt", "read"), ("encoder/", "read"), ("a", "read"), ("out/jobs.db", "write"), ("keys/out", "write")],
)
def test_other_files_are_not(
    storage: Storage, tmp_path: Path, location: str, purpose: Literal["read", "write"]
) -> None:
    storage.check(f"{tmp_path}/{location}", purpose)


def test_another_name_of_the_same_file_or_folder_is_the_same(storage: Storage, tmp_path: Path) -> None:
    os.link(tmp_path / "jobs.db", tmp_path / "hard")
    (tmp_path / "soft").symlink_to(tmp_path / "jobs.db")
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("hard", "soft", "folder/jobs.db", "folder/jobs.db-journal"):
        for purpose in ("read", "write"):
            with pytest.raises(LocationError, match="setting jobs_db"):
                storage.check(f"{tmp_path}/{name}", purpose)  # type: ignore[arg-type]


def test_a_folder_with_one_of_them_is_no_input(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=r"jobs\.db' is not allowed: it is the server's own"):
        storage.list_inputs(f"{tmp_path}/")
    assert [file.relative for file in storage.list_inputs(f"{tmp_path}/models/")] == ["m.pt"]


def test_every_path_that_a_setting_names_is_among_them(tmp_path: Path) -> None:
    paths = {
        name: tmp_path / name
        for name, field in Settings.model_fields.items()
        if field.annotation in (Path, Path | None) and name != "batch_roots"
    }
    assert len(paths) > 5
    settings = Settings.model_construct(**paths)
    assert {own.setting for own in own_files(settings)} >= set(paths)


def test_neighbours_are_those_of_a_database_alone(tmp_path: Path) -> None:
    storage = Storage([tmp_path], own=[OwnFile(tmp_path / "a", "x"), OwnFile(tmp_path / "b", "y", neighbours=True)])
    storage.check(f"{tmp_path}/ab", "write")
    with pytest.raises(LocationError, match="setting y"):
        storage.check(f"{tmp_path}/bc", "write")
