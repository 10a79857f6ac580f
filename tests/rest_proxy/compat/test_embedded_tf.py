"""embedded-tf's HTTP service, row by row of the compatibility table, and how its clients are told from PyText's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from predictor.ttypes import BatchRequest, BatchStage, BatchState, ErrorCode, PredictionError

from rest_proxy.config import Settings
from rest_proxy.lifecycle import listening
from tests.support.service import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

LOCATIONS = {"model": "gs://b/model", "input": "gs://b/in/", "output": "gs://b/out"}
PATH = f"/?{urlencode(LOCATIONS)}"


async def answer_when_ended(
    proxy: Proxy, server: ThriftServer, state: int, error: str | None = None, stage: int | None = None
) -> Answer:
    asked = asyncio.create_task(proxy.ask("GET", PATH))
    await asyncio.to_thread(eventually, lambda: server.jobs)
    server.end_job(state, error, stage)
    return await asked


async def test_embedded_tf_all_well(proxy: Proxy, server: ThriftServer) -> None:
    answer = await answer_when_ended(proxy, server, BatchState.COMPLETED)
    assert (answer.status, answer.body) == (200, b"predictions completed\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Batch-Id"] in server.jobs
    assert server.named("submit_batch") == [(BatchRequest("predict", *LOCATIONS.values()),)]


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("model=", "model"),
        ("input=a&output=b", "model"),
        ("model=&input=&output=", "model"),
        ("output=a", "model"),
        ("model=a", "input"),
        ("model=a&input=&output=b", "input"),
        ("model=a&input=b", "output"),
        ("model=a&input=b&output=", "output"),
    ],
)
async def test_embedded_tf_a_parameter_missing(proxy: Proxy, server: ThriftServer, query: str, missing: str) -> None:
    out = await proxy.curl("-w", "%{http_code}", f"URL/?{query}")
    assert out == f"Query Param '{missing}' is missing\n400"
    assert server.named("submit_batch") == []


async def test_embedded_tf_a_location_that_is_not_allowed(proxy: Proxy, server: ThriftServer) -> None:
    allowed = "'gs://' or a folder of the setting batch_roots"

    def refuse(_request: BatchRequest) -> None:
        message = f"request.input: location must start with {allowed} (setting batch_roots)"
        raise PredictionError(ErrorCode.INVALID_ARGUMENT, message, field="request.input", setting="batch_roots")

    server.on_submit = refuse
    answer = await proxy.ask("GET", PATH)
    assert answer.status == 400
    assert answer.body == f"'input' bad formatted: location must start with {allowed}\n".encode()


async def test_embedded_tf_better_a_location_that_is_malformed(proxy: Proxy, server: ThriftServer) -> None:
    def refuse(_request: BatchRequest) -> None:
        message = "request.output: 'gs://b/../c' has the part '..'"
        raise PredictionError(ErrorCode.INVALID_ARGUMENT, message, field="request.output")

    server.on_submit = refuse
    answer = await proxy.ask("GET", PATH)
    assert (answer.status, answer.body) == (400, b"'output' bad formatted: 'gs://b/../c' has the part '..'\n")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (BatchStage.MODEL, "error when downloading model files"),
        (BatchStage.TENSORFLOW, "error when starting tensorflow"),
        (BatchStage.PREDICTIONS, "error when making predictions"),
        (None, "error when making predictions"),
    ],
)
async def test_embedded_tf_failures(proxy: Proxy, server: ThriftServer, stage: int | None, message: str) -> None:
    error = "gs://b/in/a, line 3: not JSON"
    answer = await answer_when_ended(proxy, server, BatchState.FAILED, error, stage)
    assert (answer.status, answer.body.decode()) == (500, f"{message}\n")
    shown = await proxy.ask("GET", f"/batches/{answer.headers['X-Batch-Id']}")
    assert shown.json["error"] == error
    assert shown.json.get("failed_stage") == (None if stage is None else BatchStage._VALUES_TO_NAMES[stage])


async def test_embedded_tf_better_a_job_that_was_cancelled(proxy: Proxy, server: ThriftServer) -> None:
    answer = await answer_when_ended(proxy, server, BatchState.CANCELLED)
    assert (answer.status, answer.body) == (500, b"error when making predictions\n")


async def test_embedded_tf_better_errors_of_the_server_are_a_line_of_text(proxy: Proxy, server: ThriftServer) -> None:
    def refuse(_request: BatchRequest) -> None:
        raise PredictionError(ErrorCode.UNAVAILABLE, "this server runs no batch jobs", 3000)

    server.on_submit = refuse
    answer = await proxy.ask("GET", PATH, headers={"Accept": "application/json"})
    assert (answer.status, answer.body) == (503, b"this server runs no batch jobs\n")
    assert answer.headers["Retry-After"] == "3"


async def test_embedded_tf_better_the_request_outlives_every_timeout(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, timeout_ms=2500, max_timeout_ms=2500, grace_ms=0)
    asked = asyncio.create_task(proxy.ask("GET", PATH))
    await asyncio.to_thread(eventually, lambda: server.named("get_batch"))
    await asyncio.sleep(2.6)
    assert not asked.done()
    server.end_job(BatchState.COMPLETED)
    assert (await asked).status == 200


async def test_embedded_tf_better_a_client_that_goes_away_leaves_the_job(proxy: Proxy, server: ThriftServer) -> None:
    asked = asyncio.create_task(proxy.ask("GET", PATH))
    await asyncio.to_thread(eventually, lambda: server.named("get_batch"))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await asyncio.sleep(0.1)  # now the proxy knows
    asked_then = len(server.named("get_batch"))
    await asyncio.sleep(0.5)
    assert len(server.named("get_batch")) <= asked_then + 1, (
        "nobody waits any more; one question may have been under way"
    )
    assert server.named("cancel_batch") == []
    (job,) = (await proxy.ask("GET", "/batches")).json["batches"]
    assert job["state"] == "QUEUED"


async def test_embedded_tf_better_the_answer_comes_though_the_server_crashed_meanwhile(
    new_proxy: Any, new_server: Callable[..., ThriftServer]
) -> None:
    server = new_server(free_port())
    proxy = await new_proxy(server)
    asked = asyncio.create_task(proxy.ask("GET", PATH))
    await asyncio.to_thread(eventually, lambda: server.named("get_batch"))
    server.stop()
    await asyncio.sleep(0.3)
    server.end_job(BatchState.COMPLETED)
    new_server(server.address.port, server.jobs)
    assert (await asked).body == b"predictions completed\n"


async def test_embedded_tf_better_a_job_that_is_forgotten(proxy: Proxy, server: ThriftServer) -> None:
    asked = asyncio.create_task(proxy.ask("GET", PATH))
    await asyncio.to_thread(eventually, lambda: server.named("get_batch"))
    (job_id,) = server.jobs
    server.jobs.clear()
    answer = await asked
    assert (answer.status, answer.body.decode()) == (500, f"job {job_id}: no job has the id {job_id!r}\n")


async def test_embedded_tf_better_draining_does_not_wait_for_jobs(server: ThriftServer) -> None:
    settings = Settings(thrift=(server.address,), port=0, drain_timeout_ms=60_000)
    async with asyncio.timeout(50):
        async with listening(settings) as port:
            command = ["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:{port}{PATH}"]
            curl = await asyncio.create_subprocess_exec(*command, stdout=-1)
            await asyncio.to_thread(eventually, lambda: server.named("get_batch"))
        out, _ = await curl.communicate()
    (job_id,) = server.jobs
    assert out.decode() == f"the server is stopping; job {job_id} goes on when it runs again\n503"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/?doc=x&model=a&input=b&output=c"),
        ("POST", "/?model=a&input=b&output=c"),
        ("HEAD", PATH),
        ("GET", "/?x=1"),
        ("GET", "/?Model=a"),
    ],
)
async def test_requests_that_are_pytexts(proxy: Proxy, server: ThriftServer, method: str, path: str) -> None:
    answer = await proxy.ask(method, path)
    if "doc=" in path:
        assert answer.body.startswith(b"Z\xc3\xbcrich:")
    else:
        assert (answer.status, answer.body) == (400, b"" if method == "HEAD" else b"Missing query parameter: doc\n")
    assert server.named("submit_batch") == []
