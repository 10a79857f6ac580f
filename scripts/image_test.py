"""Proves the Dockerfile where there is no Docker.

Copies what the build context holds into a folder, runs the build stage's own RUN lines there (all but apt-get's) with
the image's paths moved below that folder, then starts ENTRYPOINT with a model path, as `docker run IMAGE MODEL` would,
runs HEALTHCHECK's command until it is content, asks for a prediction, and stops the server with STOPSIGNAL.

    python scripts/image_test.py [--keep FOLDER] [--build-arg EXTRAS=s3]

Says how large the image's files are: those of the environment, and the base image's as its publisher gives them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_S = 60
BASE_BYTES = 125_000_000  # python:3.11-slim-bookworm, unpacked
# What the README lets a user import, and the old names for it.
PACKAGES = (
    *(
        "ext",
        "ml_services",
        "predictor",
        "predictor_client",
        "process",
        "rest_proxy",
        "runtime",
        "server",
        "smartreply",
    ),
    "smls",
)


class Dockerfile:
    """The instructions of a Dockerfile, in order, continuation lines joined."""

    def __init__(self, path: Path) -> None:
        text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
        self.instructions = [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]

    def of(self, name: str) -> list[str]:
        """The arguments of every instruction of this name."""
        return [arguments for instruction, arguments in self.instructions if instruction == name]

    def build_commands(self) -> list[str]:
        """The first stage's RUN lines that are ours, not the distribution's."""
        first, second = (index for index, (name, _) in enumerate(self.instructions) if name == "FROM")
        stage = self.instructions[first:second]
        return [text for name, text in stage if name == "RUN" and "apt-get" not in text]

    def environment(self) -> dict[str, str]:
        """What ENV says; $PATH stands for the one of the base image."""
        return dict(pair.split("=", 1) for arguments in self.of("ENV") for pair in arguments.split())

    def arguments(self) -> dict[str, str]:
        """The build's arguments and their defaults."""
        return dict(argument.split("=", 1) for argument in self.of("ARG"))


def copy_context(target: Path) -> None:
    """What .dockerignore lets into the image, as far as git tracks it."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    tracked = subprocess.run(["git", "ls-files", "-z", *allowed], cwd=ROOT, check=True, capture_output=True).stdout
    for name in tracked.decode().split("\0")[:-1]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
        (target / name).chmod((ROOT / name).stat().st_mode)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def check_packages(prefix: Path) -> None:
    """Import everything that the README lets a user import, and answer a message without a server."""
    program = (
        f"import {', '.join(PACKAGES)}\n"
        "replies = smartreply.SmartReplyRuntime().predict('Hello')\n"
        "print('Hello ->', max(replies, key=replies.get))\n"
    )
    subprocess.run([prefix / "bin" / "python", "-c", program], cwd="/", env={"PATH": os.environ["PATH"]}, check=True)


def size_of(prefix: Path) -> int:
    """Bytes in all files of the environment."""
    return sum(file.lstat().st_size for file in prefix.rglob("*") if file.is_file() and not file.is_symlink())


def wait_until_healthy(command: list[str], environment: dict[str, str], server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0:
        if server.poll() is not None:
            sys.exit(f"error: the server ended with exit code {server.returncode}")
        if time.monotonic() > end:
            sys.exit(f"error: HEALTHCHECK was not content within {START_S} s")
        time.sleep(0.2)


def serve(dockerfile: Dockerfile, prefix: Path) -> None:
    """Run the image's command line with the ports and the environment moved, and ask it something."""

    def moved(text: str) -> str:
        return text.replace("/opt/predictor", str(prefix))

    thrift, rest = free_port(), free_port()
    environment = {name: moved(value) for name, value in dockerfile.environment().items()}
    environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
    environment |= {"PREDICTOR_HOST": "127.0.0.1", "PREDICTOR_PORT": str(thrift), "PREDICTOR_REST_PORT": str(rest)}
    model = moved(json.loads(dockerfile.of("CMD")[0])[0])
    health = json.loads(dockerfile.of("HEALTHCHECK")[0].partition("CMD")[2].replace("8080", str(rest)))
    server = subprocess.Popen([*json.loads(dockerfile.of("ENTRYPOINT")[0]), model], env=environment, cwd="/")
    try:
        wait_until_healthy(health, environment, server)
        query = urllib.parse.urlencode({"doc": "set an alarm"})
        with urllib.request.urlopen(f"http://127.0.0.1:{rest}/?{query}", timeout=10) as answer:
            scores = dict(line.rsplit(":", 1) for line in answer.read().decode().splitlines())
        print(f"set an alarm -> {max(scores, key=lambda label: float(scores[label]))}")
    finally:
        server.send_signal(getattr(signal, dockerfile.of("STOPSIGNAL")[0]))
        code = server.wait(timeout=START_S)
    if code != 0:
        sys.exit(f"error: the server ended with exit code {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the Dockerfile's steps and its server without Docker.")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="work there and leave it, instead of a temporary one"
    )
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as docker build has it")
    options = parser.parse_args()
    keep, build = options.keep, dict(argument.split("=", 1) for argument in options.build_arg)
    dockerfile = Dockerfile(ROOT / "Dockerfile")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)).resolve()
        context, prefix = folder / "src", folder / "predictor"
        copy_context(context)
        for command in dockerfile.build_commands():
            print(f"RUN {command}", flush=True)
            environment = {**os.environ, **dockerfile.arguments(), **build, "PYTHON": sys.executable}
            moved = command.replace("/opt/predictor", str(prefix))
            subprocess.run(moved, shell=True, cwd=context, env=environment, check=True)
        shutil.rmtree(context)  # the image has none of it
        check_packages(prefix)
        serve(dockerfile, prefix)
        bytes_ = size_of(prefix) + BASE_BYTES
    print(f"the image's files: {bytes_ / 1e9:.2f} GB, {BASE_BYTES / 1e9:.2f} GB of them the base image's")
    print("the image's steps and its command line work")


if __name__ == "__main__":
    main()
