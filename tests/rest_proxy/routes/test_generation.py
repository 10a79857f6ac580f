"""POST /generate: whole texts, streams, their end in every way, and what is refused."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import (
    ErrorCode,
    FinishReason,
    GenerationChunk,
    GenerationOptions,
    Lane,
    PredictionError,
    RequestOptions,
)

from tests.rest_proxy.thrift_server import WORDS, ThriftServer
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.conftest import Answer, Proxy

PATH = "/generate"
TEXT = "".join(WORDS)
WHOLE = {
    "prompt": "AI is a",
    "continuation": TEXT,
    "token_count": len(WORDS),
    "finish_reason": "LENGTH",
    "prompt_tokens": 3,
}


async def generate(proxy: Proxy, **fields: Any) -> Answer:
    return await proxy.ask("POST", PATH, json=fields, headers={"X-Request-Id": "r-1"})


def events(body: bytes) -> list[tuple[str, Any]]:
    """(event's name, its JSON) of server-sent events; a comment is ("", None)."""
    found = []
    *blocks, rest = body.decode().split("\n\n")
    assert rest == ""
    for block in blocks:
        lines = block.splitlines()
        if lines == [":"]:
            found.append(("", None))
            continue
        *names, data = lines
        assert data.startswith("data: ")
        name = names[0].removeprefix("event: ") if names else "message"
        found.append((name, json.loads(data.removeprefix("data: "))))
    return found


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition)


async def held(server: ThriftServer) -> None:
    assert await asyncio.to_thread(server.held.acquire, timeout=60), "the call did not come"


# --------------------------------------------------------------------------------------------------- a whole text


async def test_a_whole_text(proxy: Proxy, server: ThriftServer) -> None:
    answer = await generate(proxy, prompt="AI is a")
    assert (answer.status, answer.json) == (200, WHOLE)
    wanted = ("AI is a", GenerationOptions(), RequestOptions(None, 600_000, None, "r-1"))
    assert server.named("generate") == [wanted]


@pytest.mark.parametrize("form", ["form", "query", "JSON"])
async def test_every_option_in_every_form(proxy: Proxy, server: ThriftServer, form: str) -> None:
    fields = {
        "prompt": "AI is ä + 1",
        "max_tokens": 7,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "repetition_penalty": 1.5,
        "stop": ["\n", "end"],
        "seed": -(2**63),
        "model": "gpt2",
        "timeout_ms": 1234,
        "lane": "bulk",
    }
    pairs = [
        (name, str(item)) for name, value in fields.items() for item in (value if isinstance(value, list) else [value])
    ]
    body = {"form": {"data": pairs}, "query": {"params": pairs}, "JSON": {"json": fields}}[form]
    answer = await proxy.ask("POST", PATH, headers={"X-Request-Id": "r-1"}, **body)
    assert answer.status == 200
    options = GenerationOptions(7, 0.5, 40, 0.9, 1.5, ["\n", "end"], -(2**63))
    assert server.named("generate") == [("AI is ä + 1", options, RequestOptions("gpt2", 1234, Lane.BULK, "r-1"))]


async def test_one_stop_string_need_not_be_a_list(proxy: Proxy, server: ThriftServer) -> None:
    assert (await generate(proxy, prompt="a", stop=".")).status == 200
    assert server.named("generate")[0][1].stop == ["."]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "prompt: this field is required"),
        ({"prompt": None}, "prompt: this field is required"),
        ({"prompt": ["a"]}, "prompt: expected a string"),
        ({"max_tokens": -1}, "max_tokens: must be at least 0"),
        ({"max_tokens": 2**31}, "max_tokens: must be at most 2147483647"),
        ({"max_tokens": 1.5}, "max_tokens: expected an integer"),
        ({"temperature": -1}, "temperature: must be at least 0"),
        ({"temperature": 11}, "temperature: must be at most 10"),
        ({"temperature": math.nan}, "temperature: must be a finite number"),
        ({"temperature": "hot"}, "temperature: expected a number"),
        ({"top_k": -2}, "top_k: must be at least -1"),
        ({"top_p": -1}, "top_p: must be at least 0"),
        ({"min_p": 1.5}, "min_p: must be at most 1"),
        ({"logprobs": 21}, "logprobs: must be at most 20"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a"),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]: must be at least 0"),
        ({"presence_penalty": 3}, "presence_penalty: must be at most 2"),
        ({"top_p": math.inf}, "top_p: must be a finite number"),
        ({"repetition_penalty": 0}, "repetition_penalty: must be over 0"),
        ({"stop": ["x"] * 10_000}, "stop: must have at most 16 items, got 10000"),
        ({"stop": ["x", 1]}, "stop[1]: expected a string"),
        ({"stop": 1}, "stop: expected a list"),
        ({"seed": 2**63}, "seed: must be at most 9223372036854775807"),
        ({"stream": "no"}, "stream: expected true or false"),
        ({"lane": "fast"}, "lane: expected 'interactive' or 'bulk', got 'fast'"),
        ({"timeout_ms": 10**9}, "timeout_ms: must lie between 1 and 600,000, got 1000000000 (setting max_timeout_ms)"),
        ({"tokens": 1}, "tokens: there is no such field"),
    ],
)
async def test_a_wrong_request_is_400(proxy: Proxy, server: ThriftServer, fields: dict[str, Any], message: str) -> None:
    body = {"prompt": "a", **fields} if fields else {}
    answer = await generate(proxy, **body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.json["error"]["message"].startswith(message)
    assert server.calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_server_refuses_keeps_its_status(proxy: Proxy, server: ThriftServer, stream: bool) -> None:
    def refuse(*_arguments: Any) -> None:
        field, reason = "generation_options.max_tokens", "must lie between 1 and 512, got 1000000000"
        raise PredictionError(ErrorCode.INVALID_ARGUMENT, f"{field}: {reason}", field=field)

    server.generate = server.generate_begin = refuse
    answer = await generate(proxy, prompt="a", max_tokens=10**9, stream=stream)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert answer.json["error"]["field"] == "max_tokens"
    assert answer.json["error"]["message"] == "max_tokens: must lie between 1 and 512, got 1000000000"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"prompt":"\xff"}', "application/json", 400),
        (b'{"prompt":"\\ud800"}', "application/json", 400),
        (b"prompt=%FF", "application/x-www-form-urlencoded", 400),
        (b'{"prompt":"a"}', "text/plain", 415),
    ],
)
async def test_bad_bytes_and_other_content_types(
    proxy: Proxy, server: ThriftServer, body: bytes, content_type: str, status: int
) -> None:
    answer = await proxy.ask("POST", PATH, data=body, headers={"Content-Type": content_type})
    assert (answer.status, answer.json["error"]["code"]) == (status, "INVALID_ARGUMENT")
    assert server.calls == []


async def test_only_post(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", f"{PATH}?prompt=a")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_client_that_goes_away_ends_the_call(proxy: Proxy, server: ThriftServer) -> None:
    server.generate = lambda *_arguments: server.hold("", None)
    before = len(server.connections)
    asked = asyncio.create_task(generate(proxy, prompt="a"))
    await held(server)
    connection = server.connections[before]
    asked.cancel()
    await asyncio.to_thread(connection.recv, 1, 2)  # MSG_PEEK: until the proxy has closed it


# ------------------------------------------------------------------------------------------------------- a stream


async def test_a_stream(proxy: Proxy, server: ThriftServer) -> None:
    answer = await generate(proxy, prompt="AI is a", stream=True, max_tokens=4)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["Cache-Control"], answer.headers["X-Request-Id"]) == ("no-cache", "r-1")
    *parts, last = events(answer.body)
    assert parts == [("message", {"text": word, "token_count": n}) for n, word in enumerate(WORDS[:-1], 1)]
    assert last == ("message", {"text": WORDS[-1], "token_count": 4, "finish_reason": "LENGTH", "prompt_tokens": 3})
    options = RequestOptions(None, 600_000, None, "r-1")
    assert server.named("generate_begin") == [("AI is a", GenerationOptions(max_tokens=4), options)]
    assert server.named("generate_next") == [("stream-1", 10_000)] * 4
    assert server.named("generate_cancel") == []


async def test_a_stream_on_http_1_0(proxy: Proxy) -> None:
    body = json.dumps({"prompt": "a", "stream": True})
    out = await proxy.curl("-0", "-N", "-H", "Content-Type: application/json", "-d", body, f"URL{PATH}")
    assert "".join(data["text"] for _, data in events(out.encode())) == TEXT


async def test_events_come_before_the_text_is_complete(proxy: Proxy, server: ThriftServer) -> None:
    server.chunks[2:2] = [server.wait_for_release]
    async with proxy.session.post(proxy.url + PATH, json={"prompt": "a", "stream": True}) as response:
        first = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 60)
        assert events(first) == [("message", {"text": WORDS[0], "token_count": 1})]
        await held(server)
        server.release.set()
        rest = events(await response.read())
    assert ("", None) in rest, "an empty chunk is a heartbeat"
    assert "".join(data["text"] for _, data in rest if data) == "".join(WORDS[1:])


async def test_heartbeats_come_in_silent_times(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, heartbeat_ms=20)
    server.chunks[:0] = [GenerationChunk("", 0)] * 3
    answer = await generate(proxy, prompt="a", stream=True)
    assert events(answer.body)[:3] == [("", None)] * 3
    assert server.named("generate_next")[0] == ("stream-1", 20)


async def test_parts_come_no_faster_than_the_interval(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, stream_interval_ms=100)
    begin = time.monotonic()
    answer = await generate(proxy, prompt="a", stream=True)
    assert "".join(data["text"] for _, data in events(answer.body)) == TEXT
    assert time.monotonic() - begin > 0.09 * (len(WORDS) - 1)


async def test_a_client_that_goes_away_cancels_the_stream_at_once(proxy: Proxy, server: ThriftServer) -> None:
    server.chunks[1:1] = [server.wait_for_release]
    async with proxy.session.post(proxy.url + PATH, json={"prompt": "a", "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        await held(server)
        assert server.named("generate_cancel") == []
        response.close()
    await until(lambda: server.named("generate_cancel") == [("stream-1",)])
    assert len(server.named("generate_next")) == 2
    async with asyncio.timeout(60):
        while b"predictor_rest_generations_in_progress 0.0" not in (await proxy.ask("GET", "/metrics")).body:
            pass


async def test_a_client_that_goes_away_while_the_text_begins_cancels_it_too(proxy: Proxy, server: ThriftServer) -> None:
    begin = server.generate_begin

    def begin_late(*arguments: Any) -> str:
        server.wait_for_release()
        return begin(*arguments)

    server.generate_begin = begin_late
    asked = asyncio.create_task(generate(proxy, prompt="a", stream=True))
    await held(server)
    asked.cancel()
    for _ in range(5):  # passes of the loop, in which the proxy sees it
        await asyncio.sleep(0.01)
    server.release.set()
    await until(lambda: server.named("generate_cancel") == [("stream-1",)])
    assert server.named("generate_next") == []


async def test_a_client_that_does_not_read_is_disconnected(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, grace_ms=100)
    server.chunks = [GenerationChunk("x" * 1_000_000, 1)] * 1000
    body = json.dumps({"prompt": "a", "stream": True, "timeout_ms": 2500})
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1024)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode())
    writer.write(f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    await reader.readline()
    await until(lambda: server.named("generate_cancel") == [("stream-1",)])
    received = await asyncio.wait_for(reader.read(), 60)
    assert not received.endswith(b"0\r\n\r\n"), "it must not look complete"
    writer.close()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (PredictionError(ErrorCode.DEADLINE_EXCEEDED, "too late"), "DEADLINE_EXCEEDED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
async def test_an_error_in_the_middle_is_the_last_event(
    proxy: Proxy, server: ThriftServer, fault: Exception, code: str
) -> None:
    def fail() -> GenerationChunk:
        raise fault

    server.chunks[2:2] = [fail]
    answer = await generate(proxy, prompt="a", stream=True)
    assert answer.status == 200
    *parts, (name, data) = events(answer.body)
    assert [part["text"] for _, part in parts] == WORDS[:2]
    assert (name, data["error"]["code"], data["error"]["request_id"]) == ("error", code, "r-1")
    assert (await generate(proxy, prompt="a")).status == 200


async def test_a_server_that_dies_in_the_middle_is_the_last_event(proxy: Proxy, server: ThriftServer) -> None:
    def die() -> GenerationChunk:
        server.drop_connections()
        return GenerationChunk("", 0)

    server.chunks[1:1] = [die]
    answer = await generate(proxy, prompt="a", stream=True)
    name, data = events(answer.body)[-1]
    assert (name, data["error"]["code"]) == ("error", "UNAVAILABLE")


async def test_a_server_that_is_late_is_504_or_the_last_event(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, grace_ms=50, heartbeat_ms=50, connections=1)
    server.generate = lambda *_arguments: server.hold("", None)
    answer = await generate(proxy, prompt="a", timeout_ms=50)
    assert (answer.status, answer.json["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    server.chunks[1:1] = [server.wait_for_release]
    answer = await generate(proxy, prompt="a", stream=True)
    name, data = events(answer.body)[-1]
    assert (name, data["error"]["code"]) == ("error", "DEADLINE_EXCEEDED")
    await until(lambda: server.named("generate_cancel") == [("stream-1",)])
    server.release.set()
    assert (await proxy.ask("GET", "/predict?doc=x")).status == 200


async def test_all_of_a_stream_goes_to_the_server_that_began_it(new_proxy: Any, new_server: Any) -> None:
    servers = [new_server(), new_server()]
    proxy = await new_proxy(*servers)
    answers = await asyncio.gather(*(generate(proxy, prompt=str(n), stream=True) for n in range(8)))
    assert all("".join(data["text"] for _, data in events(answer.body)) == TEXT for answer in answers)
    for server in servers:
        assert len(server.named("generate_next")) == 4 * len(server.named("generate_begin")) > 0


async def test_over_the_limit_of_texts_is_429(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_generations=1)
    server.chunks[1:1] = [server.wait_for_release]
    running = asyncio.create_task(generate(proxy, prompt="a", stream=True))
    await held(server)
    for stream in (False, True):
        answer = await generate(proxy, prompt="b", stream=stream)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        message = "no room for 1 more of 1 texts at a time (setting max_generations)"
        assert answer.json["error"]["message"] == message
    server.release.set()
    assert (await running).status == 200
    assert (await generate(proxy, prompt="c")).status == 200


async def test_texts_do_not_take_the_connections_of_other_calls(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, connections=1)
    server.chunks[1:1] = [server.wait_for_release]
    running = [asyncio.create_task(generate(proxy, prompt="a", stream=True)) for _ in range(3)]
    for _ in running:
        await held(server)
    assert (await asyncio.wait_for(proxy.ask("GET", "/predict?doc=x"), 60)).status == 200
    server.release.set()
    for answer in await asyncio.gather(*running):
        assert events(answer.body)[-1][1]["finish_reason"] == "LENGTH"


async def test_a_text_that_ends_for_each_reason(proxy: Proxy, server: ThriftServer) -> None:
    for reason, name in FinishReason._VALUES_TO_NAMES.items():
        server.chunks = [GenerationChunk("", 1, reason)]
        answer = await generate(proxy, prompt="a", stream=True)
        assert events(answer.body) == [("message", {"text": "", "token_count": 1, "finish_reason": name})]
