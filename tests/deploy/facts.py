"""What the Dockerfile says about the image, for the files that start it."""

from __future__ import annotations

import re
from typing import NamedTuple

from scripts.fetch_models import SOURCES
from scripts.image_test import Dockerfile
from tests.support.service import ROOT

DEPLOY = ROOT / "deploy"


class Image(NamedTuple):
    """The image: who runs in it, what is set, and the models that it brings."""

    user: str
    environment: dict[str, str]
    models: list[str]


def image_facts() -> Image:
    """Of the Dockerfile."""
    dockerfile = Dockerfile(ROOT / "Dockerfile")
    built = " ".join(dockerfile.build_commands())
    trained = re.findall(r"--output (\S+)", built)
    fetched = re.findall(r"fetch_models\.py (\S+) --folder (\S+)", built)
    return Image(
        user=dockerfile.of("USER")[-1],
        environment=dockerfile.environment(),
        models=[*trained, *(f"{folder}/{SOURCES[name].file_name}" for name, folder in fetched)],
    )
