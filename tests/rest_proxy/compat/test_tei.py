"""text-embeddings-inference's routes, asked as its clients ask: LlamaIndex, Haystack, huggingface_hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, ModelInfo, ModelLimits, ModelState, PredictionError, TruncationSide

from tests.support.letters import vector_of

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

JSON = {"Content-Type": "application/json"}
LIMITS = ModelLimits(512, 1024, 65536, 32, 4096, 0)


async def post(proxy: Proxy, path: str, **fields: Any) -> Answer:
    return await proxy.ask("POST", path, data=json.dumps(fields), headers=JSON)


def vectors(*texts: str) -> list[Any]:
    return [pytest.approx(vector_of(text).tolist()) for text in texts]


@pytest.mark.parametrize("path", ["/embed", "/"])
@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"inputs": ["ab", "c"], "truncate": True}, ["ab", "c"]),  # LlamaIndex
        ({"inputs": "ab", "truncate": True, "normalize": False}, ["ab"]),  # Haystack, of a query
        ({"inputs": ["ab", "b"], "truncate": True, "normalize": False}, ["ab", "b"]),
        ({"inputs": ["ab"], "prompt_name": "query"}, ["aaab"]),  # huggingface_hub
        ({"inputs": ["inputs"], "dimensions": 8, "model": "letters", "timeout_ms": 1000}, ["inputs"]),
        ({"inputs": []}, []),
    ],
)
async def test_vectors(of_letters: Proxy, path: str, fields: dict[str, Any], texts: list[str]) -> None:
    if fields["inputs"] == []:
        answer = await post(of_letters, path, **fields)
        assert (answer.status, answer.json["error"]) == (400, "inputs: the list is empty")
        return
    assert (await post(of_letters, path, **fields)).json == vectors(*texts)


async def test_vectors_have_length_1_unless_asked_otherwise(proxy: Proxy, server: ThriftServer) -> None:
    for fields, normalize in (({}, True), ({"normalize": None}, True), ({"normalize": False}, False)):
        answer = await post(proxy, "/embed", inputs="abc", **fields)
        assert answer.json == [[0.1, 3.0, -1e-9]]
        assert server.named("embed_matrix")[-1][2].normalize is normalize


@pytest.mark.parametrize(("path", "method"), [("/embed", "embed_matrix"), ("/embed_sparse", "embed_sparse")])
async def test_which_end_is_cut(proxy: Proxy, server: ThriftServer, path: str, method: str) -> None:
    for direction, side in (("Left", TruncationSide.LEFT), ("right", TruncationSide.RIGHT)):
        assert (await post(proxy, path, inputs="abc", truncation_direction=direction)).status == 200
        assert server.named(method)[-1][2].truncation_side == side


async def test_vectors_of_ids(of_letters: Proxy) -> None:
    assert (await post(of_letters, "/embed", inputs=[0, 1])).json == vectors("ab")
    assert (await post(of_letters, "/embed", inputs=[[0, 1], [2]])).json == vectors("ab", "c")


async def test_our_own_form_stays(of_letters: Proxy) -> None:
    """Also of a text that says inputs, of a form, of a query, and of what is no JSON."""
    assert list((await post(of_letters, "/embed", text='"inputs"')).json) == ["embeddings"]
    assert list((await of_letters.ask("POST", "/embed", data={"message": '"inputs"'})).json) == ["embeddings"]
    answer = await post(of_letters, "/embed?text=a", inputs="a")
    assert answer.json["error"]["message"].startswith("text: with a JSON body")
    answer = await of_letters.ask("POST", "/embed", data='{"inputs": ', headers=JSON)
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    answer = await of_letters.ask("POST", "/embed", data='["inputs"]', headers=JSON)
    assert answer.json["error"]["code"] == "INVALID_ARGUMENT"
    answer = await post(of_letters, "/embed", inputs="a", text="a")
    assert (answer.status, answer.json["error"]) == (400, "text: there is no such field")


async def test_a_body_that_waits_to_be_asked_for(of_letters: Proxy) -> None:
    """It is read once to be told from our own, and once to be answered; its sender is told once to go on."""
    body = json.dumps({"inputs": ["ab"]})
    out = await of_letters.curl("-i", "-H", "Expect: 100-continue", "-H", f"Content-Type: {JSON['Content-Type']}",
                                "-d", body, "URL/embed")  # fmt: skip
    assert out.count("HTTP/1.1 100") == 1
    assert "HTTP/1.1 200" in out


async def test_sparse_vectors(of_letters: Proxy) -> None:
    wanted = [{"index": 97, "value": 2.0}, {"index": 98, "value": 1.0}]
    assert (await post(of_letters, "/embed_sparse", inputs="aab")).json == [wanted]
    assert (await post(of_letters, "/embed_sparse", inputs=["aab", "a"])).json == [
        wanted,
        [{"index": 97, "value": 1.0}],
    ]


async def test_labels(of_letters: Proxy) -> None:
    best = [{"score": 0.75, "label": "a"}, {"score": 0.25, "label": "b"}]
    for one in ("aaab", ["aaab"]):
        assert (await post(of_letters, "/predict", inputs=one)).json == best
    assert (await post(of_letters, "/predict", inputs=[["aaab"], ["b"]])).json == [best, [{"score": 1.0, "label": "b"}]]
    raw = await post(
        of_letters, "/predict", inputs="aaab", raw_scores=True, truncate=True, truncation_direction="Right"
    )
    assert raw.json == [{"score": 3.0, "label": "a"}, {"score": 1.0, "label": "b"}]


async def test_tokens(proxy: Proxy, server: ThriftServer) -> None:
    answer = await post(proxy, "/tokenize", inputs=["föld", "a"], add_special_tokens=False)
    part = {"id": 7, "text": "föld", "special": False, "start": 0, "stop": 4}
    assert answer.json == [[part], [{**part, "text": "a", "stop": 1}]]
    assert server.named("tokenize")[-1][2].special_tokens is False


async def test_special_tokens_have_no_place(of_letters: Proxy) -> None:
    (tokens,) = (await post(of_letters, "/tokenize", inputs="ab")).json
    assert {token["special"] for token in tokens} == {False, True}
    assert all(token["special"] == (token["start"] is None) for token in tokens)


async def test_ranks(of_letters: Proxy) -> None:
    """/rerank is ours; LlamaIndex asks for it, Haystack with raw_scores, and what knows one address only at /."""
    fields = {"query": "ab", "texts": ["x", "aaab"], "raw_scores": False}
    for path in ("/rerank", "/"):
        ranks = (await post(of_letters, path, **fields)).json
        assert [one["index"] for one in ranks] == [1, 0]


@pytest.mark.parametrize(
    ("path", "fields", "status", "kind", "message"),
    [
        ("/embed", {"inputs": 1}, 400, "Validation", "inputs: expected a string or a list of strings, got a number"),
        ("/embed", {"inputs": ["a", 1]}, 400, "Validation", "inputs[1]: expected a string, got a number"),
        ("/", {}, 400, "Validation", "inputs: this field is required"),
        ("/embed", {"inputs": "a", "unknown": 1}, 400, "Validation", "unknown: there is no such field"),
        ("/embed", {"inputs": "a", "model": "b"}, 404, "Validation", "no model is named 'b'"),
        ("/embed", {"inputs": ["a", "b" * 21], "truncate": False}, 413, "Validation", "inputs[1]: "),
        ("/embed_sparse", {"inputs": "b" * 21, "truncate": False}, 413, "Validation", "inputs: "),
        ("/embed_sparse", {"inputs": ["a"] * 2049}, 413, "Validation", "inputs: 2049 items are over the limit"),
        ("/embed", {"inputs": "nan"}, 500, "Backend", "gave numbers that are NaN"),
        ("/predict", {"inputs": ["a", "b"]}, 400, "Validation", "inputs: a list of strings is a text and its pair"),
        ("/predict", {"inputs": [["a"], ["a", "b"]]}, 400, "Validation", "inputs[1]: a list of strings is a text"),
        ("/predict", {"inputs": [["a"], "b"]}, 400, "Validation", "inputs[1]: expected a list of one string"),
        ("/predict", {"inputs": []}, 400, "Validation", "inputs: expected a string, or a list of lists of one string"),
        ("/predict", {"inputs": "a", "truncation_direction": "Left"}, 400, "Validation", "truncation_direction: "),
    ],
)
async def test_refusals(
    of_letters: Proxy, path: str, fields: dict[str, Any], status: int, kind: str, message: str
) -> None:
    """The message is what clients show: the value of `error`."""
    answer = await post(of_letters, path, **fields)
    assert (answer.status, answer.json["error_type"]) == (status, kind), answer.json
    assert message in answer.json["error"]
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(ErrorCode.OVERLOADED, 429, "Overloaded"), (ErrorCode.UNAVAILABLE, 503, "Unhealthy")],
)
async def test_busy_servers(proxy: Proxy, server: ThriftServer, code: int, status: int, kind: str) -> None:
    def refuse(*_arguments: Any) -> Any:
        raise PredictionError(code, "not now", 1500)

    server.embed_matrix = refuse  # type: ignore[method-assign]
    answer = await post(proxy, "/embed", inputs="a")
    assert (answer.status, answer.json["error_type"], answer.json["error"]) == (status, kind, "not now")
    assert answer.headers["Retry-After"] == "2"


# What a model serves and says of itself -> its type.
MODELS: list[tuple[str, list[str], dict[str, str] | None, dict[str, Any]]] = [
    ("gpt2", ["generate"], None, {}),
    ("minilm", ["embed", "embed_matrix"], {"pooling": "cls", "precision": "int8"}, {"embedding": {"pooling": "cls"}}),
    ("qwen", ["embed", "embed_matrix"], {"pooling": "lasttoken"}, {"embedding": {"pooling": "last_token"}}),
    ("splade", ["embed_sparse"], {}, {"embedding": {"pooling": "splade"}}),
    ("ranks", ["rerank", "tokenize"], {}, {"reranker": {}}),
    ("labels", ["predict", "classify"], {}, {"classifier": {}}),
]


async def test_info(proxy: Proxy, server: ThriftServer) -> None:
    server.list_models = lambda: [  # type: ignore[method-assign]
        ModelInfo(name, "0123456789ab", "", ModelState.READY, "m", methods, methods, LIMITS, False, details)
        for name, methods, details, _ in MODELS
    ]
    first = (await proxy.ask("GET", "/info")).json
    assert (first["model_id"], first["model_dtype"], first["version"]) == ("minilm", "int8", "1.2.3")
    assert (first["max_input_length"], first["max_batch_tokens"], first["max_client_batch_size"]) == (512, 4096, 2048)
    for name, _, _, kind in MODELS[1:]:
        answer = await proxy.ask("GET", f"/info?model={name}")
        assert (answer.json["model_id"], answer.json["model_type"]) == (name, kind)
    for name in ("gpt2", "none"):
        answer = await proxy.ask("GET", f"/info?model={name}")
        assert (answer.status, answer.json["error"]) == (404, f"no model {name!r} embeds, ranks or classifies")
    server.list_models = list  # type: ignore[method-assign,assignment]
    assert (await proxy.ask("GET", "/info")).json["error"] == "no model embeds, ranks or classifies"


async def test_health(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("GET", "/health")
    assert (answer.status, answer.body) == (200, b"")
    server.ready = False
    assert (await proxy.ask("GET", "/health")).status == 503


async def test_the_root_of_others_stays(proxy: Proxy) -> None:
    """PyText's clients may post to it with `doc` in the query, whatever the body."""
    answer = await proxy.ask("POST", "/?doc=a", data='{"inputs": "a"}', headers=JSON)
    assert answer.body.startswith(b"Z") or b"alarm/set_alarm:" in answer.body
    answer = await proxy.ask("POST", "/elsewhere", data='{"inputs": "a"}', headers=JSON)
    assert answer.status == 404


async def test_vectors_of_tokens(of_letters: Proxy) -> None:
    assert (await post(of_letters, "/embed_all", inputs="ab c")).json == [vectors("ab", "c")]
    assert (await post(of_letters, "/embed_all", inputs=["a", "b"])).json == [vectors("a"), vectors("b")]


@pytest.mark.parametrize("path", ["/similarity", "/"])
async def test_how_alike_sentences_are(of_letters: Proxy, path: str) -> None:
    inputs = {"source_sentence": "ab", "sentences": ["ab", "b", "c"]}
    for parameters in ({}, {"truncate": True}):
        answer = await post(of_letters, path, inputs=inputs, parameters=parameters)
        assert answer.json == pytest.approx([1.0, 0.5**0.5, 0.0])


@pytest.mark.parametrize("path", ["/predict", "/"])
async def test_labels_as_huggingface_hub_asks_for_them(of_letters: Proxy, path: str) -> None:
    """A list for each text, which of one text its client takes out of another."""
    parameters: dict[str, Any] = {"function_to_apply": "softmax"}
    best = [{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}]
    assert (await post(of_letters, path, inputs="aaab", parameters=parameters)).json == [best]
    assert (await post(of_letters, path, inputs=["aaab", "aaab"], parameters=parameters)).json == [best, best]
    parameters = {"function_to_apply": "none", "top_k": 1}
    assert (await post(of_letters, path, inputs="aaab", parameters=parameters)).json == [[{"label": "a", "score": 3.0}]]
    own = {"candidate_labels": ["ab", "x"], "hypothesis_template": "{}", "multi_label": True}
    found = (await post(of_letters, path, inputs="ab", parameters=own)).json
    assert [one["label"] for one in found] == ["ab", "x"]


@pytest.mark.parametrize("path", ["/classify_tokens", "/"])
async def test_parts_of_texts_as_huggingface_hub_asks_for_them(of_letters: Proxy, path: str) -> None:
    place = {"word": "Ada", "start": 7, "end": 10, "score": 0.5}
    answer = await post(of_letters, path, inputs="we met Ada", parameters={"aggregation_strategy": "simple"})
    assert answer.json == [{"entity_group": "NAME", **place}]
    parameters = {"aggregation_strategy": "none", "ignore_labels": ["O"]}
    answer = await post(of_letters, path, inputs=["we met Ada"], parameters=parameters)
    assert answer.json == [[{"entity": "NAME", "index": 2, **place}]]


async def test_texts_go_on(proxy: Proxy, server: ThriftServer) -> None:
    parameters = {"max_new_tokens": 3, "do_sample": False, "return_full_text": True}
    answer = await post(proxy, "/", inputs="a", parameters=parameters, stream=False)
    assert answer.json == [{"generated_text": "a new föld of 🙂 study"}]
    [(_, how, _)] = server.named("generate")
    assert (how.max_tokens, how.temperature) == (3, 0.0)


# What the models serve -> what a request at / gets that only has inputs, and one that has parameters, too.
AT_ROOT = [
    (["embed_matrix"], [[0.1, 1.0, -1e-9]], None),
    (["classify"], [{"score": 0.5, "label": "a"}], [[{"label": "a", "score": 0.5}]]),
    (
        ["classify_tokens_batch"],
        [{"entity_group": "PER", "word": "a", "start": 0, "end": 1, "score": 0.5}],
        [{"entity_group": "PER", "word": "a", "start": 0, "end": 1, "score": 0.5}],
    ),
    (["generate"], [{"generated_text": " new föld of 🙂 study"}], [{"generated_text": " new föld of 🙂 study"}]),
]


@pytest.mark.parametrize(("methods", "plain", "with_parameters"), AT_ROOT)
async def test_the_root_does_what_the_model_can(
    proxy: Proxy, server: ThriftServer, methods: list[str], plain: Any, with_parameters: Any
) -> None:
    server.list_models = lambda: [  # type: ignore[method-assign]
        ModelInfo("m", "0123456789ab", "", ModelState.READY, "m", methods, methods, LIMITS, False, {})
    ]
    assert (await post(proxy, "/", inputs="a")).json == plain
    answer = await post(proxy, "/", inputs="a", parameters={})
    if with_parameters is None:
        message = "no model classifies texts or tokens, or generates"
        assert (answer.status, answer.json["error"]) == (404, message)
    else:
        assert answer.json == with_parameters


@pytest.mark.parametrize(
    ("path", "fields", "status", "message"),
    [
        ("/embed_all", {"inputs": 1}, 400, "inputs: expected a string or a list of strings"),
        ("/similarity", {"inputs": "a"}, 400, "inputs: expected an object, got 'a'"),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, 400, "inputs.sentences: this field is required"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": []}},
            400,
            "inputs.sentences: the list is empty",
        ),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b", "b" * 21]}, "parameters": {"truncate": False}},
            413,
            "inputs.sentences[1]: ",
        ),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"] * 2049}}, 413, "inputs.sentences: 2049"),
        ("/predict", {"inputs": "a", "parameters": {"x": 1}}, 400, "parameters.x: there is no such field"),
        ("/predict", {"inputs": "a", "parameters": {"top_k": 0}}, 400, "parameters.top_k: must be at least 1"),
        (
            "/classify_tokens",
            {"inputs": "a", "parameters": {"stride": 1}},
            400,
            "parameters.stride: texts are read whole",
        ),
        ("/", {"inputs": "a", "parameters": {"max_new_tokens": 1}, "stream": True}, 400, "stream: "),
    ],
)
async def test_refusals_of_further_tasks(
    of_letters: Proxy, path: str, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = await post(of_letters, path, **fields)
    assert (answer.status, answer.json["error_type"]) == (status, "Validation"), answer.json
    assert message in answer.json["error"]
