"""The command that makes a token: `python -m server.tokens NAME [--methods PATTERN ...] [--file FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from process.command_line import called_as
from process.security import token_file
from process.security.token_file import Right, TokenFileError, digest_of, new_token
from server.security.gate import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODE = 0o600


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a new token; its line goes to stdout too, or to the file."""
    given = _parser().parse_args(arguments)
    token = new_token()
    line = line_of(given.name, token, vars(given))
    try:
        _check(line)
        if given.file is not None:
            _append(given.file, given.name, line)
    except (TokenFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.file is None:
        print("The line for the file of tokens (--token-file FILE):", file=sys.stderr)
        print(line)
    print("The token, which is shown only now:", file=sys.stderr)
    print(token)
    return 0


def line_of(name: str, token: str, rights: dict[str, Any]) -> str:
    """The line of a token in the file, with those of the rights that are given."""
    fields: dict[str, Any] = {"sha256": digest_of(token).hex()}
    fields |= {right: rights[right] for right in _RIGHTS if rights.get(right) is not None}
    content = ", ".join(f"{field} = {_toml(field, value)}" for field, value in fields.items())
    return f"{json.dumps(name)} = {{ {content} }}"


_RIGHTS = ("certificate", "methods", "models", "may", "requests_per_s", "tokens_per_s", "in_flight", "expires")


def _toml(field: str, value: Any) -> str:
    return str(value) if field == "expires" else json.dumps(value, ensure_ascii=False)


def _check(line: str) -> None:
    """Raise TokenFileError where the server would not take the line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "line")
        path.write_text(line)
        try:
            token_file.read(path, METHODS)
        except TokenFileError as error:
            raise TokenFileError(str(error).removeprefix(f"{path}: ")) from None


def _append(path: Path, name: str, line: str) -> None:
    """Write the line behind those of the file, which only its owner may read if it is new."""
    old = path.read_text() if path.exists() else ""
    if old and name in token_file.read(path, METHODS):
        raise TokenFileError(f"{path}: there is a token named {name}; delete its line first")
    end = "" if not old or old.endswith("\n") else "\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE), "a") as file:
        file.write(f"{end}{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=called_as("server.tokens", "predictor-token"),
        description="Makes a token, and the line that a server's file of tokens (--token-file FILE) knows it by.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="who the token is for; it stands in the log")
    add("--file", type=Path, metavar="FILE", help="file that the line is added to; a server reads it within a second")
    add("--methods", nargs="+", metavar="PATTERN", help="methods that it may call, such as 'embed*'; default: all")
    add("--models", nargs="+", metavar="PATTERN", help="models that it may use; default: all")
    add("--may", nargs="+", choices=get_args(Right), help="further rights; default: none")
    add("--requests-per-s", type=float, metavar="X", help="calls a second; default: no limit")
    add("--tokens-per-s", type=float, metavar="X", help="models' tokens a second, read and written; default: no limit")
    add("--in-flight", type=int, metavar="N", help="calls at a time; default: no limit")
    add("--expires", metavar="DATE", help="last day, as 2027-12-31; default: never")
    add("--certificate", metavar="NAME", help="name in the client's certificate that may stand for the token")
    return parser


if __name__ == "__main__":
    sys.exit(main())
