"""What RPCs refuse says as data which argument is wrong and which setting's limit was hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import GenerationOptions, Lane, ModelLimits, ReplyOptions, RequestOptions, ServerStatus

from server.calls import Pending
from server.config import Settings
from server.errors import ErrorCode, PredictionError, deadline_exceeded, overloaded, too_large
from server.models.capabilities import Capability
from server.models.registry import Entry, Registry
from server.models.sampling import CONTRACT
from server.rpc.handler import Handler
from tests.server.waiting import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from server.models.requests import ReplyFilter, RequestContext, Sampling
    from tests.support.hub import LocalHub

WRONG, LARGE, MISSING = ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE, ErrorCode.NOT_FOUND
FULL, LATE = ErrorCode.OVERLOADED, ErrorCode.DEADLINE_EXCEEDED


class Strict:
    """A model with every capability, which refuses texts of more than three characters as its engine would."""

    kind = "strict"
    capabilities = tuple(Capability)
    limits = ModelLimits(3, 0, 0, 0, 0, 512)
    equal_lengths_only = False
    sampling_defaults = CONTRACT

    takes = frozenset({"prompt"})
    dimensions = 4
    normalized = True
    labels = ()

    def predict(self, doc: str, classification: Any, context: RequestContext) -> Pending[Any]:
        if doc == "full":
            raise overloaded("the model's queue is full", 50, setting="queue_items")
        if doc == "late":
            raise deadline_exceeded("the deadline had passed when the request came")
        if len(doc) > 3:
            raise too_large("the text has more than 3 tokens", setting="max_tokens")
        done: Pending[Any] = Pending()
        done.resolve({})
        return done

    def reply(self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext) -> Pending[Any]:
        return self.predict("".join(messages), None, context)

    def embed(self, text: str, reading: Any, context: RequestContext) -> Pending[Any]:
        return self.predict(text, None, context)

    async def prompt_tokens(self, prompt: str, sampling: Sampling) -> list[int]:
        if len(prompt) > 3:
            raise too_large("4 tokens, over the limit of 3", field="prompt", setting="max_tokens")
        return [1]

    async def formed(self, sampling: Sampling) -> Sampling:
        return sampling

    async def generate(
        self, tokens: list[int], sampling: Sampling, context: RequestContext, on_text: Any = None
    ) -> Any:
        raise deadline_exceeded("the deadline passed")


@pytest.fixture
def handler() -> Handler:
    registry = Registry(Settings())
    model: Any = Strict()
    registry._entries["strict"] = Entry("strict", "", model=model)
    registry._choose_defaults()
    return Handler(registry, Settings(streams=1), lambda: ServerStatus("", 0, True, [], 0, []))


def options(**given: Any) -> RequestOptions:
    return RequestOptions(**given)


def generation(**given: Any) -> GenerationOptions:
    return GenerationOptions(**given)


OWN = options(timeout_ms=1000)

REFUSALS: dict[str, tuple[Callable[[Handler], Coroutine[Any, Any, Any]], int, str | None, str | None]] = {
    "lane": (lambda it: it.predict("a", options(lane=7)), WRONG, "options.lane", None),
    "timeout": (lambda it: it.predict("a", options(timeout_ms=0)), WRONG, "options.timeout_ms", "max_timeout_ms"),
    "request id": (lambda it: it.predict("a", options(request_id="x" * 129)), WRONG, "options.request_id", None),
    "unknown model": (lambda it: it.predict("a", options(model="none")), MISSING, "options.model", None),
    "long document": (lambda it: it.predict("long", None), LARGE, "doc", "max_tokens"),
    "long document of many": (lambda it: it.predict_batch(["a", "long"], None), LARGE, "docs[1]", "max_tokens"),
    "long message": (lambda it: it.reply("long", None, None), LARGE, "message", "max_tokens"),
    "long message of many": (lambda it: it.reply_batch(["a", "long"], None, None), LARGE, "messages[1]", "max_tokens"),
    "long conversation": (lambda it: it.reply_conversation(["lo", "ng"], None, None), LARGE, "messages", "max_tokens"),
    "long text": (lambda it: it.embed("long", None, None), LARGE, "text", "max_tokens"),
    "long text of many": (lambda it: it.embed_batch(["long"], None, None), LARGE, "texts[0]", "max_tokens"),
    "long text of a matrix": (lambda it: it.embed_matrix(["long"], None, None), LARGE, "texts[0]", "max_tokens"),
    "long prompt": (lambda it: it.generate("long", None, None), LARGE, "prompt", "max_tokens"),
    "long prompt of a stream": (lambda it: it.generate_begin("long", None, None), LARGE, "prompt", "max_tokens"),
    "full queue": (lambda it: it.predict("full", None), FULL, None, "queue_items"),
    "full queue for many": (
        lambda it: it.predict_batch(["full"], None),
        FULL,
        "docs[0]",
        "queue_items",
    ),
    "default deadline": (lambda it: it.predict("late", None), LATE, None, "timeout_ms"),
    "default deadline, with options": (
        lambda it: it.predict("late", options(lane=Lane.BULK)),
        LATE,
        None,
        "timeout_ms",
    ),
    "default deadline of many": (
        lambda it: it.embed_matrix(["a", "late"], None, None),
        LATE,
        "texts[1]",
        "timeout_ms",
    ),
    "default deadline of a generation": (
        lambda it: it.generate("a", None, None),
        LATE,
        None,
        "timeout_ms",
    ),
    "default deadline of a stream": (
        lambda it: it.generate_begin("a", None, None),
        LATE,
        None,
        "timeout_ms",
    ),
    "the caller's own deadline": (lambda it: it.predict("late", OWN), LATE, None, None),
    "max_replies": (lambda it: it.reply("a", None, ReplyOptions(0)), WRONG, "reply_options.max_replies", None),
    "threshold": (
        lambda it: it.reply("a", None, ReplyOptions(None, float("nan"))),
        WRONG,
        "reply_options.threshold",
        None,
    ),
    "max_tokens": (
        lambda it: it.generate("a", generation(max_tokens=513), None),
        WRONG,
        "generation_options.max_tokens",
        None,
    ),
    "top_k": (lambda it: it.generate("a", generation(top_k=-2), None), WRONG, "generation_options.top_k", None),
    "stop": (lambda it: it.generate("a", generation(stop=["x"] * 17), None), LARGE, "generation_options.stop", None),
    "a stop string": (
        lambda it: it.generate("a", generation(stop=["x", ""]), None),
        WRONG,
        "generation_options.stop[1]",
        None,
    ),
    "wait_ms": (lambda it: it.generate_next("none", -1), MISSING, "stream_id", None),
    "unknown stream": (lambda it: it.generate_cancel("none"), MISSING, "stream_id", None),
    "loading is off": (lambda it: it.load_model("a", "b"), WRONG, None, "model_root"),
    "unloading is off": (lambda it: it.unload_model("a"), WRONG, None, "model_root"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_names_its_argument_and_its_setting(handler: Handler, name: str) -> None:
    call, code, field, setting = REFUSALS[name]
    check(await error_of(call(handler)), code, field, setting)


def check(error: PredictionError, code: int, field: str | None, setting: str | None) -> None:
    assert (error.code, error.field, error.setting) == (code, field, setting), error
    assert field is None or error.message.startswith(f"{field}: ")
    assert setting is None or error.message.endswith(f" (setting {setting})")


async def test_refusals_of_a_model_that_cannot_do_it(handler: Handler) -> None:
    handler._registry._entries["strict"].model.capabilities = (Capability.EMBED,)  # type: ignore[union-attr]
    check(await error_of(handler.predict("a", options(model="strict"))), WRONG, "options.model", None)


async def test_refusals_of_loading(tmp_path: Path) -> None:
    handler = Handler(Registry(Settings()), Settings(model_root=tmp_path), lambda: ServerStatus("", 0, True, [], 0, []))
    check(await error_of(handler.load_model("a", "../b")), WRONG, "location", "model_root")
    check(await error_of(handler.load_model("a", "nul\0")), WRONG, "location", None)
    check(await error_of(handler.load_model("a", "missing.pt")), WRONG, "location", None)
    check(await error_of(handler.load_model("bad name", "missing.pt")), WRONG, "name", None)
    for location in ("openai://host:1/a", "openais://host:1/a,server=vllm", "tfserving://host:1/a"):
        check(await error_of(handler.load_model("a", location)), WRONG, "location", None)
    check(await error_of(handler.unload_model("none")), MISSING, "name", None)


async def test_refusals_of_loading_from_a_hub(hub: LocalHub, tmp_path: Path) -> None:
    of_root = Handler(Registry(Settings()), Settings(model_root=tmp_path), lambda: ServerStatus("", 0, True, [], 0, []))
    check(await error_of(of_root.load_model("a", "hf://owner/name")), WRONG, "location", "hub_models")
    settings = Settings(hub_models=("owner/*", "other/one"), hub_cache=tmp_path / "cache")
    handler = Handler(Registry(settings), settings, lambda: ServerStatus("", 0, True, [], 0, []))
    check(await error_of(handler.load_model("a", "missing.pt")), WRONG, None, "model_root")
    check(await error_of(handler.load_model("a", "hf://other/two")), WRONG, "location", "hub_models")
    check(await error_of(handler.load_model("a", "hf://other/one@../x")), WRONG, "location", None)
    check(await error_of(handler.load_model("a", "hf://owner/name,precision=int2")), WRONG, "location", None)
    assert hub.asked == []
    error = await error_of(handler.load_model("a", "hf://other/one"))
    check(error, WRONG, "location", None)
    assert f"{hub.address} has no model other/one" in error.message
    hub.busy = 99
    error = await error_of(handler.load_model("a", "hf://owner/name"))
    check(error, ErrorCode.UNAVAILABLE, None, None)
    assert error.message.startswith("hf://owner/name: ")
    check(await error_of(handler.unload_model("none")), MISSING, "name", None)
    assert await handler.list_models() == []
