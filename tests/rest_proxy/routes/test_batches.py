"""/batches: jobs by HTTP, in front of one server and of several."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchJob, BatchRequest, BatchState, ErrorCode, OnError, PredictionError

from rest_proxy.config import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

JOB = {"method": "predict", "input": "gs://in/a/", "output": "gs://out/"}


async def submit(proxy: Proxy, **fields: Any) -> Answer:
    return await proxy.ask("POST", "/batches", json={**JOB, **fields})


async def test_a_job_is_submitted(proxy: Proxy, server: ThriftServer) -> None:
    answer = await submit(proxy, model="docnn", on_error="record", max_errors=7, key_field="id")
    assert answer.status == 202
    job = answer.json
    assert answer.headers["Location"] == f"/batches/{job['id']}"
    assert (job["state"], job["progress"], job["files_done"]) == ("QUEUED", 0.0, 0)
    assert job["request"] == {**JOB, "model": "docnn", "on_error": "RECORD", "max_errors": 7, "key_field": "id"}
    assert "error" not in job
    assert server.named("submit_batch") == [
        (BatchRequest("predict", "docnn", "gs://in/a/", "gs://out/", OnError.RECORD, 7, "id"),)
    ]
    assert (await proxy.ask("GET", answer.headers["Location"])).json == job


async def test_what_is_left_out_is_left_to_the_server(proxy: Proxy, server: ThriftServer) -> None:
    await submit(proxy)
    assert server.named("submit_batch") == [(BatchRequest("predict", None, "gs://in/a/", "gs://out/"),)]


async def test_what_was_shown_can_be_submitted_again(proxy: Proxy) -> None:
    first = (await submit(proxy, on_error="fail")).json
    again = await proxy.ask("POST", "/batches", json=first["request"])
    assert (again.status, again.json["request"]) == (202, first["request"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": None}, "input: expected a string"),
        ({"output": 1}, "output: expected a string"),
        ({"input": "x" * 5000}, "input: must have at most 4096 characters"),
        ({"on_error": "ignore"}, "on_error: expected 'fail' or 'record', got 'ignore'"),
        ({"max_errors": -1}, "max_errors: must be at least 0"),
        ({"max_errors": 1 << 64}, "max_errors: must be at most 9223372036854775807"),
        ({"lane": "bulk"}, "lane: there is no such field"),
    ],
)
async def test_wrong_fields_are_named(proxy: Proxy, fields: dict[str, Any], message: str) -> None:
    answer = await submit(proxy, **fields)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.json["error"]["message"].startswith(message)


async def test_other_content_is_refused(proxy: Proxy) -> None:
    assert (await proxy.ask("POST", "/batches", data={"method": "predict"})).status == 415
    answer = await proxy.ask("POST", "/batches", data=b"{", headers={"Content-Type": "application/json"})
    assert answer.status == 400


async def test_what_the_server_refuses(proxy: Proxy, server: ThriftServer) -> None:
    def refuse(_request: BatchRequest) -> None:
        raise PredictionError(ErrorCode.UNAVAILABLE, "this server runs no batch jobs")

    server.on_submit = refuse
    answer = await submit(proxy)
    assert (answer.status, answer.json["error"]["message"]) == (503, "this server runs no batch jobs")


async def test_a_job_is_cancelled(proxy: Proxy, server: ThriftServer) -> None:
    path = (await submit(proxy)).headers["Location"]
    answer = await proxy.ask("DELETE", path)
    assert (answer.status, answer.json["state"]) == (200, "CANCELLED")
    server.end_job(BatchState.FAILED, "cannot make predictions: /in/a.json, line 3: not JSON")
    answer = await proxy.ask("GET", path)
    assert answer.json["error"] == "cannot make predictions: /in/a.json, line 3: not JSON"
    assert answer.json["finished_at"] > answer.json["created_at"]


async def test_a_job_goes_on(proxy: Proxy, server: ThriftServer) -> None:
    path = (await submit(proxy)).headers["Location"]
    await proxy.ask("DELETE", path)
    answer = await proxy.ask("POST", path)
    assert (answer.status, answer.json["state"]) == (200, "QUEUED")
    assert server.named("resume_batch") == [(path.rpartition("/")[2],)]
    assert (await proxy.ask("POST", "/batches/none")).status == 404


@pytest.mark.parametrize("path", ["/batches/x", "/batches/", "/batches/%2e%2e%2fx", f"/batches/{'x' * 1000}"])
async def test_a_job_that_is_not_there(proxy: Proxy, path: str) -> None:
    for method in ("GET", "DELETE"):
        answer = await proxy.ask(method, path)
        assert (answer.status, answer.json["error"]["code"]) == (404, "NOT_FOUND")


async def test_jobs_are_listed(proxy: Proxy, server: ThriftServer) -> None:
    assert (await proxy.ask("GET", "/batches")).json == {"batches": []}
    ids = [(await submit(proxy)).json["id"] for _ in range(3)]
    answer = await proxy.ask("GET", "/batches?limit=2")
    assert [job["id"] for job in answer.json["batches"]] == [ids[2], ids[1]]
    assert server.named("list_batches") == [(100,), (2,)]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "most=1"])
async def test_wrong_limits(proxy: Proxy, query: str) -> None:
    answer = await proxy.ask("GET", f"/batches?{query}")
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/batches"), ("DELETE", "/batches"), ("PUT", "/batches/x")])
async def test_other_methods(proxy: Proxy, method: str, path: str) -> None:
    answer = await proxy.ask(method, path)
    assert answer.status == 405
    assert method not in answer.headers["Allow"]


class TestSeveralServers:
    """Each job belongs to one of them."""

    async def test_a_job_is_found_wherever_it_is(self, new_proxy: Any, new_server: Callable[..., ThriftServer]) -> None:
        servers = [new_server() for _ in range(3)]
        proxy = await new_proxy(*servers)
        for _ in range(12):
            path = (await submit(proxy)).headers["Location"]
            assert (await proxy.ask("GET", path)).status == 200
            assert (await proxy.ask("DELETE", path)).json["state"] == "CANCELLED"
        assert (await proxy.ask("GET", "/batches/x")).status == 404
        assert sum(len(server.jobs) for server in servers) == 12

    async def test_the_newest_of_all(self, new_proxy: Any, new_server: Callable[..., ThriftServer]) -> None:
        servers = [new_server() for _ in range(2)]
        proxy = await new_proxy(*servers)
        now = time.time()
        for age in range(6):
            request = BatchRequest("predict", None, "/in/", "/out/")
            job = BatchJob(f"job-{age}", BatchState.QUEUED, request, 0.0, 0, 0, 0, 0, now - age)
            servers[age % 2].jobs[job.id] = job
        answer = await proxy.ask("GET", "/batches?limit=4")
        assert [job["id"] for job in answer.json["batches"]] == [f"job-{age}" for age in range(4)]

    async def test_one_that_cannot_be_asked(self, new_proxy: Any, server: ThriftServer) -> None:
        proxy = await new_proxy(server, Address("127.0.0.1", 1))
        path = (await submit(proxy)).headers["Location"]
        assert (await proxy.ask("GET", path)).status == 200
        answer = await proxy.ask("GET", "/batches/x")
        assert (answer.status, answer.json["error"]["code"]) == (503, "UNAVAILABLE"), "the other one may have it"
        assert len((await proxy.ask("GET", "/batches")).json["batches"]) == 1

    async def test_one_that_runs_no_jobs(self, new_proxy: Any, new_server: Callable[..., ThriftServer]) -> None:
        def refuse(_request: BatchRequest) -> None:
            raise PredictionError(ErrorCode.UNAVAILABLE, "this server runs no batch jobs")

        servers = [new_server(), new_server()]
        servers[0].on_submit = refuse
        proxy = await new_proxy(*servers)
        for _ in range(4):
            assert (await submit(proxy)).status == 202
        assert len(servers[1].jobs) == 4
