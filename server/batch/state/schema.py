"""The tables of the jobs' SQLite file, and the way from older ones."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL,
    state INTEGER NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    ended INTEGER,
    failed_stage INTEGER
);
CREATE TABLE IF NOT EXISTS files (
    job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number INTEGER NOT NULL,
    location TEXT NOT NULL,
    relative TEXT NOT NULL,
    size INTEGER,
    state INTEGER NOT NULL DEFAULT 0,
    rows_done INTEGER NOT NULL DEFAULT 0,
    rows_failed INTEGER NOT NULL DEFAULT 0,
    replaces INTEGER NOT NULL DEFAULT 0,
    upload TEXT,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""

# By the version that a file has: what makes it one of the next version.
_MIGRATIONS = {
    1: "ALTER TABLE jobs ADD COLUMN ended INTEGER",
    2: "ALTER TABLE jobs ADD COLUMN failed_stage INTEGER",
    3: "ALTER TABLE files ADD COLUMN upload TEXT",
}
_VERSION = 4


def open_database(path: Path) -> sqlite3.Connection:
    """The file with today's tables, for any thread. Raises sqlite3.Error."""
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            damage = sqlite3.DatabaseError(f"damaged: {found}")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA foreign_keys = ON")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if not 0 <= version <= _VERSION:
            raise sqlite3.DatabaseError(f"made by another version of this program (schema {version})")
        if version:  # else it is new
            _migrate(database, version)
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.commit()
    except BaseException:
        database.close()
        raise
    return database


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or no longer a whole one."""
    code = getattr(error, "sqlite_errorcode", None)  # with further bits that say where
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path) -> Path:
    """Give a damaged database another name, where SQLite can still read what is left of it. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for journal in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{journal}").replace(f"{aside}{journal}")
    path.replace(aside)
    return aside


def _migrate(database: sqlite3.Connection, version: int) -> None:
    """Each step is a transaction, so that whoever is killed meanwhile leaves a file of some version."""
    for old in range(version, _VERSION):
        database.executescript(f"BEGIN; {_MIGRATIONS[old]}; PRAGMA user_version = {old + 1}; COMMIT")
