"""schemathesis asks every route of /openapi.json for whatever the document allows, and much that it does not.

Run by `make test-openapi` and not by `make test`: it is installed into an environment of its own, and takes minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rest_proxy.http.content import FORM, MULTIPART
from tests.e2e.folders import made
from tests.support.folders import chats
from tests.support.generators import train_tiny
from tests.support.service import ROOT, Service
from tests.support.smart_reply_models import small_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.shared import SharedFiles

PROGRAM = Path(os.environ.get("SCHEMATHESIS", ROOT / "build" / "openapi" / "bin" / "schemathesis"))
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "40"))
"""Of each operation."""

_CONFIG = """\
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503, 504]  # what a timeout_ms of 1 ends with is no fault

[checks.negative_data_rejection]
expected-statuses = ["4xx", 503, 504]

# Not all that is wrong can be said by a schema: which model can do what, a regular expression, one of two fields.
[checks.positive_data_acceptance]
enabled = false

# PyText's proxy answered any method there, but TRACE.
[[operations]]
include-path = "/"
checks.unsupported_method.enabled = false
"""
_TIMEOUT_S = 3600


@pytest.fixture(scope="module")
def service(
    zoo: Callable[[str], Path], shared_files: SharedFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A small model for each route, named as the examples name them; and jobs."""
    folder = tmp_path_factory.mktemp("jobs")
    models = {
        "classifier": zoo("doc_model"),
        "replies": shared_files.made("replies.tflite", lambda path: path.write_bytes(small_parts().graph())),
        "gpt2": shared_files.made("tiny_generator", train_tiny),
        "chat": chats.made(shared_files, "smollm"),
        **made(shared_files, ("encoder", "tags", "reranker", "splade", "colbert")),
    }
    flags = [f"--model={name}={path}" for name, path in models.items()]
    with Service(*flags, f"--batch-roots={folder}", f"--jobs-db={folder / 'jobs.sqlite'}") as running:
        yield running
        faults = [entry for entry in running.log if "exception" in entry or "Traceback" in str(entry)]
        assert faults == []


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_requests_and_answers_are_as_the_document_says(service: Service, tmp_path: Path, mode: str) -> None:
    assert PROGRAM.is_file(), f"there is no {PROGRAM}: `make test-openapi` makes it, or SCHEMATHESIS names one"
    (tmp_path / "schemathesis.toml").write_text(_CONFIG)
    document = tmp_path / "openapi.json"
    described = _one_type_each(service.http("/openapi.json").json())
    document.write_text(json.dumps(_of_types_that_are_sent(described) if mode == "negative" else described))
    command = [
        *(PROGRAM, "run", document, f"--url=http://127.0.0.1:{service.rest_port}"),
        f"--mode={mode}",
        f"--max-examples={EXAMPLES}",
        "--phases=examples,coverage,fuzzing",
        "--continue-on-failure",
        "--seed=7",
        "--request-timeout=60",
        "--suppress-health-check=all",
        "--no-color",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment(), check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-60_000:]
    print(done.stdout[-2000:])
    assert service.http("/healthz").status == 200


def environment() -> dict[str, str]:
    """Without what leads to our own packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}


def _one_type_each(value: Any) -> Any:
    """The same document without lists of types, which make this version of schemathesis fail."""
    if isinstance(value, list):
        return [_one_type_each(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _one_type_each(item) for key, item in value.items()}
    if isinstance(changed.get("type"), list):
        changed["anyOf"] = [{"type": kind} for kind in changed.pop("type")]
    return changed


def _of_types_that_are_sent(document: Any) -> Any:
    """The same document without what cannot be broken.

    A form's fields are texts and lists of them, whatever becomes of them: a number is its digits, an empty list is no
    field. In a query, too, whatever is sent is a text, and one alone a list of one.
    """
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {})
            for media_type in (FORM, MULTIPART):
                content.pop(media_type, None)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query" and _may_be_any_text(parameter["schema"]):
                    parameter["schema"] = {}
    return document


def _may_be_any_text(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_may_be_any_text, schema))
    if not isinstance(schema, dict):
        return False
    return (schema.get("type") == "string" and "enum" not in schema) or any(map(_may_be_any_text, schema.values()))
