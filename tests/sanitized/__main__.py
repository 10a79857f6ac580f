"""Drives the server, and the fuzzers' targets, with the extension that scripts/sanitize_server.sh has built.

    python -m tests.sanitized FOLDER

FOLDER holds the package `ext` with those modules. A server with a model of each engine answers calls of both ports,
good ones and malformed ones at the same time, loads models that are spoilt, and ends; then every target gets its
corpus. Ends with 0 where no sanitizer had anything to report.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.ttypes import GenerationOptions, PredictionError, RequestOptions

from tests.chaos.__main__ import MODELS
from tests.chaos.clients import Clients
from tests.chaos.line import Line
from tests.chaos.models import models
from tests.chaos.questions import TEXTS, TOKENS, ThriftQuestion, call_of, questions
from tests.fuzz.mutations import json_mutated, spoilt
from tests.fuzz.targets import made
from tests.server.transport.service import frame
from tests.support.folders import chats, gguf_files
from tests.support.service import ROOT, Service
from tests.support.shared import SharedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 1000
CLIENTS = 8
SPOILT_MODELS = 20  # of each kind
SEED = 7

TRIAL_BYTES = 1 << 44  # the addresses that AddressSanitizer reserves count

_SHOWN = 60


def main() -> int:
    """Gives 0 when there is no report."""
    with tempfile.TemporaryDirectory(prefix="predictor-sanitized-") as folder:
        reports = Path(folder) / "reports"
        environment = sanitized(Path(sys.argv[1]).resolve(), reports)
        try:
            complaints = _serve(environment, Path(folder))
            complaints += _replay(environment)
        except AssertionError as error:
            complaints = ["\n".join([str(error), *getattr(error, "__notes__", ())])]
        for path in Path(folder).glob("reports.*"):  # one of each process that had something to report
            complaints.append("\n".join(path.read_text(errors="replace").splitlines()[:_SHOWN]))
    for complaint in complaints:
        print(complaint)
    print("== no sanitizer had anything to report" if not complaints else "== SANITIZERS HAVE REPORTED")
    return int(bool(complaints))


def sanitized(package: Path, reports: Path) -> dict[str, str]:
    """The environment of a process that is to find our modules in `package`, and the sanitizers' libraries first.

    `reports` is what the names of files begin with that sanitizers write.
    """
    libraries = [_library("libasan.so"), _library("libstdc++.so")]  # the second for the first's interceptor of throw
    return {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": os.pathsep.join(map(str, (package, ROOT, ROOT / "gen-py"))),
        # Python gives nothing back when it ends; each module has its own copy of our static library; and libtorch,
        # which was built without sanitizers, does not mark how much of a vector is in use.
        "ASAN_OPTIONS": "detect_leaks=0:detect_odr_violation=0:detect_stack_use_after_return=1:strict_string_checks=1"
        f":detect_container_overflow=0:alloc_dealloc_mismatch=0:log_path={reports}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}",
        "PYTHONMALLOC": "malloc",
        "SANITIZED_FROM": str(package),
    }


def _library(name: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    done = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return str(Path(done.stdout.strip()).resolve())


def _serve(environment: dict[str, str], folder: Path) -> list[str]:
    served = models(MODELS)
    files = SharedFiles(MODELS)
    served["gguf"] = files.made("gguf/model.gguf", _write_gguf)
    served["package"] = files.made("exports/own", _export)
    locations = [f"{name}={path}" for name, path in served.items()]
    locations += [f"int8={served['encoder']},precision=int8", f"bfloat16={served['generator']},precision=bfloat16"]
    package = Path(environment["SANITIZED_FROM"])
    flags = [f"--model={location}" for location in locations]
    flags += [f"--model-root={folder}", f"--model-trial-bytes={TRIAL_BYTES}", "--warm-up-tokens=8"]
    service = Service(*flags, env=environment, cwd=package)
    with service:
        _require_sanitized(service.pid, package)
        complaints = asyncio.run(_ask(service))
        loaded = _load_spoilt(service, folder)
        with service.client() as predictor:
            predictor.predict("set an alarm", None)
        service.stop()
    print(f"server: {REQUESTS} requests of {CLIENTS} clients, {loaded}, ended with 0", flush=True)
    return complaints


def _write_gguf(path: Path) -> None:
    chat = chats.made(SharedFiles(MODELS), "smollm")
    gguf_files.write(chat, path)


def _export(path: Path) -> None:
    """In a process of its own, as a compiler is loaded for it."""
    subprocess.run([sys.executable, "-m", "tests.support.exports", "own", path], cwd=ROOT, check=True)


def _require_sanitized(pid: int, package: Path) -> None:
    """Fail where the server has loaded other modules than those that were built for this."""
    mapped = Path(f"/proc/{pid}/maps").read_text()
    ours = {line.split()[-1] for line in mapped.splitlines() if "/ext/_" in line}
    assert ours, "the server has loaded no module of ours"
    assert all(path.startswith(str(package)) for path in ours), ours
    assert "libasan" in mapped, "the server runs without AddressSanitizer"


async def _ask(service: Service) -> list[str]:
    asked = [*questions(), *_of_further_models()]
    ports = {"thrift": service.port, "http": service.rest_port}
    right: dict[str, Any] = {}
    for question in asked:
        line = await Line.to(ports[question.port])
        right[question.name] = await question.ask(line)
        line.close()
    clients = Clients(ports, asked, right, asks_again=False)
    await clients.run([random.Random(f"{SEED} {number}") for number in range(CLIENTS)], REQUESTS)
    return clients.complaints


def _of_further_models() -> Iterator[ThriftQuestion]:
    """Calls to those that no other question is for."""
    greedy = GenerationOptions(max_tokens=TOKENS, temperature=0.0, seed=1)
    for text in TEXTS:
        for model in ("int8", "package"):
            data = frame(call_of("embed", text, RequestOptions(model=model), None))
            yield ThriftQuestion(f"embed by {model} {text}", "embed", data, "binary")
        for model in ("bfloat16", "gguf"):
            data = frame(call_of("generate", text, greedy, RequestOptions(model=model)))
            yield ThriftQuestion(f"generate by {model} {text}", "generate", data, "binary")


def _load_spoilt(service: Service, folder: Path) -> str:
    """Let it load model files that are damaged; what comes of it."""
    count = refused = 0
    with service.client(timeout_s=300) as predictor:
        for path in _spoilt_models(folder):
            count += 1
            try:
                predictor.load_model("spoilt", str(path))
            except PredictionError:
                refused += 1
    return f"{count} spoilt models, {refused} refused"


def _spoilt_models(folder: Path) -> Iterator[Path]:
    rng = random.Random(SEED)
    for name in ("tflite", "gguf"):
        target = made(name, SharedFiles(MODELS))
        seeds = list(target.seeds())
        target.close()
        for number in range(SPOILT_MODELS):
            data = rng.choice(seeds)
            path = folder / f"{number}.{name}"
            path.write_bytes((json_mutated(data, number) or spoilt(data, rng))[name == "gguf" :])
            yield path


def _replay(environment: dict[str, str]) -> list[str]:
    """Every target in a process of its own, with the same modules."""
    reports = []
    for name in ("thrift", "http", "batch", "folder", "weights", "gguf", "tflite"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.fuzz.replay", name],
            cwd=environment["SANITIZED_FROM"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        print(done.stdout.strip() or f"{name}: FAILED", flush=True)
        if done.returncode:
            reports.append("\n".join([f"{name} ended with {done.returncode}", *done.stderr.splitlines()[-_SHOWN:]]))
    return reports


if __name__ == "__main__":
    sys.exit(main())
