"""AOTInductor's packages (.pt2): what they say of themselves, and a trial in a process of its own.

A package is native code. What it was compiled for is looked at first, then a child process runs it: code that fits no
processor of this machine, or that is given a token or a length beyond its tables, ends a process, which must not be the
server's.
"""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import ModelError
from server.models.formats import parsed_json
from server.models.zip_archive import open_zip

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TOKENS = "predictor.max_tokens"
"""In a package's metadata: the longest text that scripts/export_model.py tried."""

_COMPILED = "/data/aotinductor/"
_METADATA = "_metadata.json"
_MAX_METADATA_BYTES = 1 << 20
_TRIAL = "server.models.folder.trial"
_TRIAL_S = 600
_WHAT = re.compile(rb"^\s*what\(\):\s*(.*)$", re.MULTILINE)
_LONGEST_REASON = 300

# Names of instruction sets in AOTI_CPU_ISA, and the flag of /proc/cpuinfo that shows them.
_INSTRUCTIONS = {
    "AVX2": "avx2",
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_TILE": "amx_tile",
    "AMX_FP16": "amx_fp16",
}


def read_metadata(path: Path) -> dict[str, str]:
    """What a package says of itself; every byte of it is checked. Raises ModelError, OSError."""
    try:
        with open_zip(path) as archive:
            names = [name for name in archive.namelist() if _COMPILED in f"/{name}"]
            if not names:
                raise ModelError(
                    "it holds no compiled model; of a program of torch.export, "
                    "torch._inductor.aoti_compile_and_package makes a package"
                )
            if (damaged := archive.testzip()) is not None:
                raise ModelError(f"it is damaged: {damaged} is not as it was written")
            metadata: dict[str, str] = {}
            for name in names:
                if name.endswith(_METADATA) and archive.getinfo(name).file_size <= _MAX_METADATA_BYTES:
                    content = parsed_json(archive.read(name))
                    metadata |= {str(key): str(value) for key, value in content.items()}
    except (zipfile.BadZipFile, ValueError, AttributeError) as error:
        raise ModelError(f"it is damaged or cut short, or no package: {error}") from None
    return metadata


def require_fit(metadata: Mapping[str, str], device: str) -> None:
    """Raise ModelError where a package was compiled for another kind of machine, or another device."""
    here = {"AOTI_PLATFORM": sys.platform, "AOTI_MACHINE": platform.machine()}
    for key, value in here.items():
        if metadata.get(key, value) != value:
            raise ModelError(f"it was compiled for {metadata[key]}, and this is {value}: {_EXPORT_HERE}")
    compiled_for, wanted = metadata.get("AOTI_DEVICE_KEY", "cpu"), device.partition(":")[0]
    if compiled_for != wanted:
        raise ModelError(f"it was compiled for {compiled_for}, and the setting device is {device}")
    flags = _processor_flags()
    missing = [isa for isa in metadata.get("AOTI_CPU_ISA", "").split() if _INSTRUCTIONS.get(isa) not in (*flags, None)]
    if flags and missing:
        raise ModelError(f"it was compiled for processors with {', '.join(missing)}: {_EXPORT_HERE}")


_EXPORT_HERE = "export the model on such a machine as this one"


def _processor_flags() -> set[str]:
    """As Linux names them; none where it does not say."""
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    return {flag for line in content.splitlines() if line.startswith("flags") for flag in line.split()}


def try_package(path: Path, device: str, vocabulary: int, max_tokens: int, padding_id: int) -> None:
    """Run it in a process of its own, with the last token and the longest text. Raises ModelError."""
    given = {"path": str(path), "device": device, "padding_id": padding_id}
    command = [sys.executable, "-P", "-m", _TRIAL]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(given | {"id": vocabulary - 1, "length": max_tokens}).encode(),
            capture_output=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"a trial did not end within {_TRIAL_S} s") from None
    if done.returncode == 0:
        return
    if done.returncode == 1 and done.stdout:
        raise ModelError(done.stdout.decode(errors="replace").strip())
    ended = f"with signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"({done.returncode})"
    found = _WHAT.search(done.stderr)
    lines = [found[1]] if found else done.stderr.splitlines()[-1:]
    why = b"".join(lines).decode(errors="replace")[:_LONGEST_REASON]
    raise ModelError(
        f"its code ends the process {ended} on a text of {max_tokens} tokens (model_max_length in"
        f" tokenizer_config.json) with the id {vocabulary - 1} (vocab_size in config.json){': ' if why else ''}{why}"
    )
