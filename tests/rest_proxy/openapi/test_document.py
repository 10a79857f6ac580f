"""The OpenAPI document is what the routes say, and the routes do what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Settings
from rest_proxy.http.content import JSON
from rest_proxy.openapi.operation import documented_methods, request_components
from tests.support.http_examples import check_answer, example_requests

if TYPE_CHECKING:
    from rest_proxy.http.route import Route
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

HERE = {"id": "job-1", "version": "0"}  # what a path must name with the tests' server
WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("get", "/?x=1", {"headers": {"Accept": JSON}}),
    ("get", "/predict", {}),
    ("post", "/predict", {"json": {"docs": ["a", 1]}}),
    ("get", "/reply?message=a&max_replies=0", {}),
    ("post", "/embed", {"json": {"texts": [1]}}),
    ("post", "/embed", {"json": {"inputs": [1]}}),
    ("post", "/", {"json": {}}),
    ("post", "/v1/rerank", {"json": {}}),
    ("post", "/generate", {"json": {"prompt": 1}}),
    ("post", "/v1/embeddings", {"json": {}}),
    ("post", "/v1/completions", {"json": {}}),
    ("post", "/v1/completions", {"data": b"{"}),
    ("get", "/v1/models/no-such", {}),
    ("post", "/v2/models/gpt2/infer", {"json": {}}),
    ("get", "/v2/models/none", {}),
    ("post", "/v1/models/gpt2:predict", {"json": {}}),
    ("get", "/v1/models/none/metadata", {}),
    ("post", "/classify", {"json": {}}),
    ("post", "/similarity", {"json": {}}),
    ("get", "/swagger-ui/none", {}),
    ("post", "/api/inference", {"json": {"input": [1]}}),
    ("post", "/text-generation/generate", {"json": {}}),
    ("post", "/batches", {"json": {}}),
    ("get", "/batches?limit=0", {}),
    ("get", "/batches/no-such", {}),
    ("delete", "/batches/no-such", {}),
    ("post", "/batches/no-such", {}),
]
PLACEHOLDERS = {
    "/v1/models/no-such": "/v1/models/{name}",
    "/batches/no-such": "/batches/{id}",
    "/v2/models/gpt2/infer": "/v2/models/{name}/infer",
    "/v2/models/none": "/v2/models/{name}",
    "/v1/models/gpt2:predict": "/v1/models/{name}:predict",
    "/v1/models/none/metadata": "/v1/models/{name}/metadata",
    "/swagger-ui/none": "/swagger-ui/{file}",
}


@pytest.fixture
async def routes() -> list[Route]:
    """Every route of the proxy."""
    settings = Settings()
    return Application(settings, ThriftPool(settings)).routes


async def document_of(proxy: Proxy) -> dict[str, Any]:
    document: dict[str, Any] = (await proxy.ask("GET", "/openapi.json")).json
    return document


async def test_the_document_is_valid_and_has_the_limits_that_hold(new_proxy: Any, server: ThriftServer) -> None:
    document = await document_of(await new_proxy(server, max_docs=77))
    validate(document)
    assert "77 documents" in document["info"]["description"]


async def test_every_route_is_in_the_document_and_nothing_else(proxy: Proxy, routes: list[Route]) -> None:
    document = await document_of(proxy)
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == {(route.path, method.lower()) for route in routes for method in documented_methods(route)}
    for route in routes:
        for method in documented_methods(route):
            operation = document["paths"][route.path][method.lower()]
            assert route.summary == operation["summary"] or route.description in operation["description"]
            statuses = {str(answer.status) for answer in route.answers}
            assert statuses <= set(operation["responses"])


def version_in(route: Route) -> dict[str, str]:
    """The version of the tests' models, as the route's protocol writes it."""
    return {**HERE, "version": "0123456789ab"} if route.tag == "open-inference" else HERE


async def test_no_component_takes_the_place_of_another(routes: list[Route]) -> None:
    named: dict[str, Any] = {}
    for route in routes:
        errors = {route.error_format.name: route.error_format.content.get(JSON)}
        for name, schema in {**request_components(route), **errors}.items():
            assert named.setdefault(name, schema) == schema, name


async def test_every_example_is_answered_as_described(proxy: Proxy, server: ThriftServer, routes: list[Route]) -> None:
    document = await document_of(proxy)
    server.jobs_end_at_once = True
    await proxy.ask("POST", "/batches", json={"method": "predict", "input": "/in/", "output": "/out/"})
    server.jobs["job-1"] = next(iter(server.jobs.values()))
    asked = set()
    examples = (example for one in routes for example in example_requests([one], version_in(one)))
    for route, method, path, body in examples:
        answer = await proxy.ask(method, path, **({} if body is None else {"json": body}))
        assert answer.status == route.example.status, (method, path, answer.body)
        check(document, method, route.path, answer)
        asked.add((route.path, method))
    assert asked == {(route.path, method) for route in routes for method in documented_methods(route)}


async def test_every_example_of_an_answer_fits_its_schema(routes: list[Route]) -> None:
    for route in routes:
        for answer in route.answers:
            for media_type, example in answer.examples.items():
                jsonschema.validate(example, answer.content[media_type])


@pytest.mark.parametrize(("method", "path", "options"), WRONG)
async def test_every_error_is_as_described(proxy: Proxy, method: str, path: str, options: dict[str, Any]) -> None:
    if "data" in options:
        options = {**options, "headers": {"Content-Type": JSON}}
    answer = await proxy.ask(method.upper(), path, **options)
    assert answer.status >= 400
    path = path.partition("?")[0]
    check(await document_of(proxy), method, PLACEHOLDERS.get(path, path), answer)


async def test_a_server_that_is_not_ready_is_as_described(proxy: Proxy, server: ThriftServer) -> None:
    server.ready = False
    answer = await proxy.ask("GET", "/readyz")
    assert answer.status == 503
    check(await document_of(proxy), "get", "/readyz", answer)


def check(document: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """See check_answer."""
    check_answer(document, method, path, answer.status, answer.headers["Content-Type"], answer.body)
