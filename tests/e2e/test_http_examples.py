"""The examples of the OpenAPI document, answered by real models as the document says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Settings
from tests.e2e.folders import made
from tests.support.folders import chats
from tests.support.http_examples import check_answer, example_requests
from tests.support.service import Service
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

NEEDS_FILES = ("batches", "embedded-tf")  # their examples name places that are only there where they are made


@pytest.fixture(scope="module")
def service(slow_generator: Path, zoo: Callable[[str], Path], shared_files: SharedFiles) -> Iterator[Service]:
    """A model for each route, named as the examples name them."""
    models = {
        "classifier": zoo("doc_model"),
        "replies": google_model(),
        "encoder": zoo("embedding_tensor"),
        "gpt2": slow_generator,
        "chat": chats.made(shared_files, "smollm"),
        **made(shared_files, ("tags", "reranker", "splade", "colbert")),
    }
    with Service(*(flag for name, path in models.items() for flag in ("--model", f"{name}={path}"))) as running:
        yield running


async def test_every_example_is_answered_as_described(service: Service) -> None:
    document = service.http("/openapi.json").json()
    settings = Settings()
    routes = [route for route in Application(settings, ThriftPool(settings)).routes if route.tag not in NEEDS_FILES]
    [version] = [model["version"] for model in service.http("/models").json()["models"] if model["name"] == "gpt2"]
    versions = {"open-inference": version}  # TensorFlow Serving's 0 is any
    examples = (
        example for one in routes for example in example_requests([one], {"version": versions.get(one.tag, "0")})
    )
    for route, method, path, fields in examples:
        body = None if fields is None else json.dumps(fields)
        answer = service.http(path, method=method, body=body, headers={"Content-Type": "application/json"})
        assert answer.status == route.example.status, (method, path, answer.text)
        content_type = answer.headers["Content-Type"]
        check_answer(document, method, route.path, answer.status, content_type, answer.text.encode())
