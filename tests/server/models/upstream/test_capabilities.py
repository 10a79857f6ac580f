"""What a model of an upstream server can do, how it is found, and with which key it is asked."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ModelError
from server.models import kinds
from server.models.capabilities import Capability
from tests.server.models.upstream.loading import generated, load, loaded
from tests.server.waiting import error_of
from tests.support.service import free_port
from tests.support.upstream_server import KEY, MODEL, SIZE, UpstreamServer, saying, upstream_server


@pytest.mark.parametrize(
    ("serves", "capabilities"),
    [
        ((), {Capability.GENERATE, Capability.CHAT, Capability.EMBED, Capability.RERANK}),
        (("chat/completions",), {Capability.CHAT}),
        (("completions",), {Capability.GENERATE}),
        (("embeddings",), {Capability.EMBED}),
        (("rerank",), {Capability.RERANK}),
    ],
)
async def test_capabilities_are_found_by_asking(serves: tuple[str, ...], capabilities: set[Capability]) -> None:
    async with loaded(serves=serves) as (_, model):
        assert set(model.capabilities) == capabilities


async def test_capabilities_that_the_location_names() -> None:
    async with loaded(",serves=embed+generate") as (server, model):
        assert model.capabilities == (Capability.EMBED, Capability.GENERATE)
        assert model.limits.max_output_tokens == 1024
        assert model.details == {
            "server": "vllm",
            "address": f"127.0.0.1:{server.port}",
            "upstream_model": MODEL,
            "context": "4096",
            "dimensions": str(SIZE),
        }
    async with upstream_server(serves=("embeddings",)) as server:
        with pytest.raises(ModelError, match=r"does not serve 'owner/small' so: generate: no /v1/completions"):
            await load(server.location + ",serves=embed+generate")


async def test_limits_follow_the_servers_context() -> None:
    async with loaded(context=100) as (_, model):
        assert model.limits.max_output_tokens == 99
    async with loaded(context=None, max_output_tokens=7) as (_, model):
        assert model.limits.max_output_tokens == 7
        assert "context" not in model.details


async def test_a_model_that_is_not_there() -> None:
    async with upstream_server() as server:
        with pytest.raises(ModelError, match=f"has no model 'another'; it has {MODEL}"):
            await load(f"openai://127.0.0.1:{server.port}/another")
        with pytest.raises(ModelError, match="server is 'x'; it must be one of openai, vllm"):
            await load(server.location + ",server=x")
        with pytest.raises(ModelError, match="serves is 'x'; it must be one of generate, chat, embed, rerank"):
            await load(server.location + ",serves=embed+x")
        with pytest.raises(ModelError, match="the option precision is for folders of Hugging Face"):
            await load(server.location + ",precision=int8")
    with pytest.raises(ModelError, match="the option serves is for models of upstream servers"):
        await kinds.load("tfserving://localhost:1/a,serves=embed", Settings())


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    port = free_port()
    with pytest.raises(ModelError, match=rf"no answer from 127.0.0.1:{port} in 0.2 s: .*\(setting upstream_start_s\)"):
        await load(f"openai://127.0.0.1:{port}/{MODEL}", upstream_start_s=0.2)
    loading = asyncio.create_task(load(f"openai://127.0.0.1:{port}/{MODEL}", upstream_start_s=60))
    server = UpstreamServer()
    server.answer = saying(503, "Loading model")
    await asyncio.sleep(0.2)
    await server.start(port)
    await server.until(lambda: server.begun)
    server.answer = None
    model = await loading
    assert Capability.GENERATE in model.capabilities
    await model.close()
    await server.stop()


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream_server() as server:
        server.key = KEY
        location = server.location
        with pytest.raises(ModelError, match=r"it does not accept our API key .*\(?setting upstream_keys"):
            await load(location)
        of_model = Settings(upstream_keys=("b=OTHER", "a=UPSTREAM_KEY")).of_model("a").upstream_keys
        with pytest.raises(ModelError, match="the environment variable UPSTREAM_KEY is not set"):
            await load(location, upstream_keys=of_model)
        monkeypatch.setenv("UPSTREAM_KEY", "sk\n")
        with pytest.raises(ModelError, match="the environment variable UPSTREAM_KEY has letters that no key has"):
            await load(location, upstream_keys=of_model)
        monkeypatch.setenv("UPSTREAM_KEY", KEY)
        with capture_logs() as logs:
            model = await load(location, upstream_keys=of_model)
            assert (await generated(model)).text == " 2 3 4"
            server.answer = saying(500, f"no {KEY}")
            await error_of(generated(model))
        assert KEY not in str(logs) + str(model.details)
        await model.close()


async def test_the_version_is_the_models_name_there() -> None:
    assert await kinds.version_of(f"openai://nowhere.invalid:1/{MODEL},serves=embed") == MODEL
    assert not kinds.is_same_location("openai://a:1/b", "openai://a:1/b")
