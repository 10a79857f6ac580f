"""Methods over texts: labels, ranks, entities, vectors and tokens, with the options that they take."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from predictor.ttypes import (
    Aggregation,
    ClassifyOptions,
    EmbedOptions,
    Entity,
    Ranked,
    RequestOptions,
    RerankOptions,
    ServerStatus,
    SparseOptions,
    SparseVector,
    Token,
    TokenizeOptions,
    TokenOptions,
    TruncationSide,
    VectorEncoding,
)

from server.config import Settings
from server.errors import ErrorCode
from server.rpc.handler import Handler
from tests.server.waiting import error_of, result
from tests.support.letters import LETTERS, LIMIT, Letters, done, registry_of, vector_of

WRONG, LARGE, INTERNAL = ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE, ErrorCode.INTERNAL
STATUS = ServerStatus("", 0.0, True, [], 0, [])


class Unnormalized(Letters):
    """Takes no options, and does not say that its vectors have length 1."""

    takes = frozenset()
    normalized = False


@pytest.fixture
def model() -> Letters:
    return Letters()


@pytest.fixture
def handler(model: Letters) -> Handler:
    settings = Settings()
    return Handler(registry_of(settings, letters=model, plain=Unnormalized()), settings, lambda: STATUS)


def rows(matrix: Any) -> Any:
    return np.frombuffer(matrix.values, "<f4").reshape(matrix.rows, matrix.columns)


# -------------------------------------------------------------------------------------------------------------- labels


async def test_labels_come_best_first(handler: Handler) -> None:
    scores = await result(handler.classify(["abba", "c"], None, None))
    assert [[(one.label, one.score) for one in text] for text in scores] == [[("a", 0.5), ("b", 0.5)], [("c", 1.0)]]
    (best,) = await result(handler.classify(["abbb"], None, ClassifyOptions(top_k=1)))
    assert [(one.label, one.score) for one in best] == [("b", 0.75)]
    (raw,) = await result(handler.classify(["abbb"], None, ClassifyOptions(raw_scores=True)))
    assert [(one.label, one.score) for one in raw] == [("b", 3.0), ("a", 1.0)]
    (each,) = await result(handler.classify(["a"], None, ClassifyOptions(multi_label=True)))
    assert each[0].score == pytest.approx(1 / (1 + math.exp(-1)))
    assert await result(handler.classify([], None, None)) == []


async def test_labels_of_the_callers_own(handler: Handler, model: Letters) -> None:
    """As transformers' zero-shot pipeline: entailments against each other, or each against its contradiction."""
    labels = ["ab", "cd", "aaa"]
    options = ClassifyOptions(candidate_labels=labels, hypothesis_template="{}")
    first, second = await result(handler.classify(["abc", "d"], None, options))
    entailments = {"ab": 2, "cd": 1, "aaa": 3}
    whole = sum(map(math.exp, entailments.values()))
    assert [one.label for one in first] == ["aaa", "ab", "cd"]
    for one in first:
        assert one.score == pytest.approx(math.exp(entailments[one.label]) / whole)
    assert [one.label for one in second] == ["cd", "ab", "aaa"]
    assert [asked[:2] for asked in model.asked] == [(text, label) for text in ("abc", "d") for label in labels]

    options = ClassifyOptions(candidate_labels=labels, hypothesis_template="{}", multi_label=True)
    (each,) = await result(handler.classify(["abc"], None, options))
    by_label = {one.label: one.score for one in each}
    assert by_label["cd"] == pytest.approx(0.5)
    assert by_label["ab"] == pytest.approx(1 / (1 + math.exp(-2)))

    options = ClassifyOptions(candidate_labels=["cd"])
    (alone,) = await result(handler.classify(["abc"], None, options))
    assert model.asked[-1][1] == "This example is cd."
    assert 0 < alone[0].score < 1, "a single label is scored against its contradiction"

    options = ClassifyOptions(candidate_labels=labels, hypothesis_template="{}", raw_scores=True, top_k=2)
    (raw,) = await result(handler.classify(["abc"], None, options))
    assert [(one.label, one.score) for one in raw] == [("aaa", 3.0), ("ab", 2.0)]


async def test_texts_are_ranked(handler: Handler) -> None:
    texts = ["x", "ab", "aaab", "b"]
    ranked = await result(handler.rerank("ab", texts, None, RerankOptions(raw_scores=True)))
    assert ranked == [Ranked(2, 4.0), Ranked(1, 2.0), Ranked(3, 1.0), Ranked(0, 0.0)]
    best = await result(handler.rerank("ab", texts, None, RerankOptions(top_n=2)))
    assert [(one.index, one.score) for one in best] == [
        (2, pytest.approx(1 / (1 + math.exp(-4)))),
        (1, pytest.approx(1 / (1 + math.exp(-2)))),
    ]
    assert len(await result(handler.rerank("ab", texts, None, RerankOptions(top_n=99)))) == 4
    assert await result(handler.rerank("ab", [], None, None)) == []
    same = await result(handler.rerank("a", ["b", "b", "b"], None, None))
    assert [one.index for one in same] == [0, 1, 2], "equal ones keep their order"


async def test_entities(handler: Handler) -> None:
    found = await result(handler.classify_tokens("we met Ada Lovelace", None, None))
    assert found == [Entity("NAME", 0.5, "Ada Lovelace", 7, 19)]
    options = TokenOptions(Aggregation.NONE, [])
    many = await result(handler.classify_tokens_batch(["we met Ada", ""], None, options))
    assert many == [
        [Entity("O", 0.5, "we", 0, 2, 0), Entity("O", 0.5, "met", 3, 6, 1), Entity("NAME", 0.5, "Ada", 7, 10, 2)],
        [],
    ]
    assert await result(handler.classify_tokens("we met Ada", None, TokenOptions(ignore_labels=["NAME", "O"]))) == []


# ------------------------------------------------------------------------------------------------------------- vectors


async def test_prompts_come_before_texts(handler: Handler) -> None:
    for options, text in (
        (EmbedOptions(prompt="bb"), "bbc"),
        (EmbedOptions(prompt=""), "c"),
        (EmbedOptions(prompt_name="query"), "aac"),
        (EmbedOptions(split=False, truncation_side=None), "c"),
    ):
        assert await result(handler.embed("c", None, options)) == vector_of(text).tolist()
        assert (rows(await result(handler.embed_matrix(["c"], None, options)))[0] == vector_of(text)).all()


async def test_shorter_vectors_have_length_1_where_the_models_have(handler: Handler) -> None:
    plain = RequestOptions(model="plain")
    own = vector_of("aabbcd")
    short = own[:2] / np.linalg.norm(own[:2])
    for request, options, wanted in (
        (None, EmbedOptions(dimensions=2), short),
        (None, EmbedOptions(dimensions=2, normalize=False), own[:2]),
        (None, EmbedOptions(normalize=True), own),
        (plain, EmbedOptions(dimensions=2), own[:2]),
        (plain, EmbedOptions(dimensions=2, normalize=True), short),
    ):
        assert await result(handler.embed("aabbcd", request, options)) == pytest.approx(wanted.tolist(), abs=1e-7)
        (vector,) = await result(handler.embed_batch(["aabbcd"], request, options))
        assert vector == pytest.approx(wanted.tolist(), abs=1e-7)
        matrix = await result(handler.embed_matrix(["aabbcd"] * 2, request, options))
        assert (matrix.rows, matrix.columns, matrix.encoding) == (2, len(wanted), None)
        assert rows(matrix)[1] == pytest.approx(wanted, abs=1e-7)


async def test_means_have_length_1_where_the_models_vectors_have(handler: Handler, model: Letters) -> None:
    """Letters gives the mean itself, here of a vector that is not of length 1."""
    model.embed = lambda text, reading, context: done((vector_of(text) / 2).tobytes())  # type: ignore[method-assign]
    own = vector_of("aabbcd")
    for options, wanted in (
        (EmbedOptions(split=True), own),
        (EmbedOptions(split=True, normalize=False), own / 2),
        (EmbedOptions(split=False), own / 2),
        (None, own / 2),
    ):
        assert await result(handler.embed("aabbcd", None, options)) == pytest.approx(wanted.tolist(), abs=1e-7)


async def test_int8_and_bits(handler: Handler) -> None:
    texts = ["aabbcd", "abcdefgh", "", "aaaab"]
    vectors = np.array([vector_of(text) for text in texts])
    matrix = await result(handler.embed_matrix(texts, None, EmbedOptions(encoding=VectorEncoding.INT8)))
    assert (matrix.rows, matrix.columns, matrix.encoding) == (4, 8, VectorEncoding.INT8)
    encoded = np.frombuffer(matrix.values, np.int8).reshape(4, 8)
    scales = np.frombuffer(matrix.scales, "<f4")
    assert encoded.max() == 127
    assert encoded * scales[:, None] == pytest.approx(vectors, abs=1 / 254)
    listed = await result(handler.embed_batch(texts, None, EmbedOptions(encoding=VectorEncoding.INT8)))
    assert listed == encoded.astype(float).tolist()

    matrix = await result(handler.embed_matrix(texts, None, EmbedOptions(encoding=VectorEncoding.BINARY, dimensions=3)))
    assert (matrix.rows, matrix.columns, matrix.encoding, matrix.scales) == (4, 3, VectorEncoding.BINARY, None)
    assert list(matrix.values) == [0b11100000, 0b11100000, 0, 0b11000000]
    listed = await result(handler.embed_batch(texts, None, EmbedOptions(encoding=VectorEncoding.BINARY, dimensions=3)))
    assert listed == [[float(byte)] for byte in matrix.values]


@pytest.mark.slow
async def test_binary_is_that_of_sentence_transformers(handler: Handler) -> None:
    from sentence_transformers.util import quantize_embeddings  # seconds

    texts = ["aabbcd", "abcdefgh", "h"]
    matrix = await result(handler.embed_matrix(texts, None, EmbedOptions(encoding=VectorEncoding.BINARY)))
    wanted = quantize_embeddings(np.array([vector_of(text) for text in texts]), "ubinary")
    assert matrix.values == wanted.tobytes()


async def test_ids(handler: Handler) -> None:
    matrix = await result(handler.embed_ids([[0, 0, 1], [7]], None, None))
    assert (rows(matrix) == [vector_of("aab"), vector_of("h")]).all()
    assert matrix.tokens == 4
    short = await result(handler.embed_ids([[0, 0, 1]], None, EmbedOptions(dimensions=1)))
    assert rows(short).tolist() == [[1.0]]
    assert (await result(handler.embed_ids([], None, None))).rows == 0


async def test_a_vector_for_each_token(handler: Handler) -> None:
    first, second, none = await result(handler.embed_tokens(["aa bc", "d", ""], None, None))
    assert (rows(first) == [vector_of("aa"), vector_of("bc")]).all()
    assert (rows(second) == [vector_of("d")]).all()
    assert (none.rows, none.values) == (0, b"")
    short, _ = await result(handler.embed_tokens(["bc", "d"], None, EmbedOptions(dimensions=2)))
    assert rows(short) == pytest.approx(np.array([[0.0, 1.0]]))


async def test_sparse_vectors(handler: Handler) -> None:
    first, second, none = await result(handler.embed_sparse(["abbb", "c", ""], None, None))
    assert first == SparseVector([97, 98], [1.0, 3.0])
    assert (second.indices, none.indices) == ([99], [])
    options = SparseOptions(max_active_dims=2, tokens=True, prompt="c")
    (best,) = await result(handler.embed_sparse(["abbbcc"], None, options))
    assert best == SparseVector([98, 99], [3.0, 3.0], ["b", "c"])


async def test_tokens(handler: Handler) -> None:
    (tokens,) = await result(handler.tokenize(["an egg"], None, None))
    assert tokens == [Token(0, "[CLS]"), Token(2, "an", 0, 2), Token(3, "egg", 3, 6)]
    (bare,) = await result(handler.tokenize(["an egg"], None, TokenizeOptions(special_tokens=False)))
    assert bare == tokens[1:]


# ------------------------------------------------------------------------------------------------------------ refusals

PLAIN = RequestOptions(model="plain")
LONG = "a" * (LIMIT + 1)


def embedded(**options: Any) -> Any:
    return lambda it: it.embed_batch(["a"], None, EmbedOptions(**options))


def classified(**options: Any) -> Any:
    return lambda it: it.classify(["a"], None, ClassifyOptions(**options))


REFUSALS: dict[str, tuple[Any, int, str, str]] = {
    "no dimension": (embedded(dimensions=0), WRONG, "embed_options.dimensions", "must lie between 1 and 8"),
    "too many dimensions": (embedded(dimensions=9), WRONG, "embed_options.dimensions", "the model's vectors have 8"),
    "an encoding": (embedded(encoding=7), WRONG, "embed_options.encoding", "0 (FLOAT32), 1 (INT8), 2 (BINARY)"),
    "a side": (embedded(truncation_side=7), WRONG, "embed_options.truncation_side", "0 (RIGHT), 1 (LEFT)"),
    "not taken": (
        embedded(truncation_side=TruncationSide.LEFT),
        WRONG,
        "embed_options.truncation_side",
        "(kind letters) does not take this option; it takes candidate_labels, multi_label, prompt, prompt_name",
    ),
    "not taken by one that takes none": (
        lambda it: it.embed("a", PLAIN, EmbedOptions(prompt="x")),
        WRONG,
        "embed_options.prompt",
        "takes none",
    ),
    "not taken for a sparse vector": (
        lambda it: it.embed_sparse(["a"], PLAIN, SparseOptions(prompt_name="x")),
        WRONG,
        "sparse_options.prompt_name",
        "takes none",
    ),
    "split and truncate": (embedded(split=True, truncate=True), WRONG, "embed_options.split", "truncate"),
    "two prompts": (embedded(prompt="a", prompt_name="b"), WRONG, "embed_options.prompt", "prompt_name"),
    "a long prompt": (embedded(prompt="a" * 16_385), WRONG, "embed_options.prompt", "at most 16,384 characters"),
    "no label wanted": (classified(top_k=0), WRONG, "classify_options.top_k", "at least 1"),
    "labels twice": (classified(candidate_labels=["a", "a"]), WRONG, "classify_options.candidate_labels", "twice"),
    "no labels": (classified(candidate_labels=[]), WRONG, "classify_options.candidate_labels", "1 to 1000 items"),
    "an empty label": (
        classified(candidate_labels=["a", ""]),
        WRONG,
        "classify_options.candidate_labels[1]",
        "1 to 1024 bytes, got 0",
    ),
    "a template alone": (
        classified(hypothesis_template="{}"),
        WRONG,
        "classify_options.hypothesis_template",
        "only with candidate_labels",
    ),
    "a template without a place": (
        classified(candidate_labels=["a"], hypothesis_template="x"),
        WRONG,
        "classify_options.hypothesis_template",
        "{}",
    ),
    "raw scores": (
        lambda it: it.classify(["a"], PLAIN, ClassifyOptions(raw_scores=True)),
        WRONG,
        "classify_options.raw_scores",
        "takes none",
    ),
    "candidate labels": (
        lambda it: it.classify(["a"], PLAIN, ClassifyOptions(candidate_labels=["b"])),
        WRONG,
        "classify_options.candidate_labels",
        "takes none",
    ),
    "top_n": (lambda it: it.rerank("a", ["b"], None, RerankOptions(0)), WRONG, "rerank_options.top_n", "at least 1"),
    "an aggregation": (
        lambda it: it.classify_tokens("a", None, TokenOptions(9)),
        WRONG,
        "token_options.aggregation",
        "0 (NONE), 1 (SIMPLE), 2 (FIRST), 3 (AVERAGE), 4 (MAX)",
    ),
    "a label to ignore": (
        lambda it: it.classify_tokens("a", None, TokenOptions(ignore_labels=[""])),
        WRONG,
        "token_options.ignore_labels[0]",
        "1 to 1024 bytes",
    ),
    "max_active_dims": (
        lambda it: it.embed_sparse(["a"], None, SparseOptions(max_active_dims=0)),
        WRONG,
        "sparse_options.max_active_dims",
        "at least 1",
    ),
    "unknown ids": (lambda it: it.embed_ids([[0], [8]], None, None), WRONG, "ids[1]", "vocabulary"),
    "a prompt for ids": (
        lambda it: it.embed_ids([[0]], None, EmbedOptions(prompt="a")),
        WRONG,
        "embed_options.prompt",
        "not for ids",
    ),
    "long text of a pair": (
        lambda it: it.rerank("a", ["a", LONG], None, RerankOptions(truncate=False)),
        LARGE,
        "texts[1]",
        "truncate is false",
    ),
    "long text with labels": (
        lambda it: it.classify(["a", LONG], None, ClassifyOptions(candidate_labels=["a", "b", "c"], truncate=False)),
        LARGE,
        "texts[1]",
        "truncate is false",
    ),
    "long ids": (
        lambda it: it.embed_ids([[0] * (LIMIT + 1)], None, EmbedOptions(truncate=False)),
        LARGE,
        "ids[0]",
        "truncate is false",
    ),
    "vectors": (lambda it: it.embed_batch(["a nan"], None, None), INTERNAL, "texts[0]", "'letters' gave numbers"),
    "matrices": (lambda it: it.embed_matrix(["a", "a nan"], None, None), INTERNAL, "texts[1]", "'letters'"),
    "scores": (lambda it: it.predict_batch(["a", "a nan"], None), INTERNAL, "docs[1]", "'letters'"),
    "labels": (lambda it: it.classify(["a", "a nan"], None, None), INTERNAL, "texts[1]", "'letters'"),
    "own labels": (
        lambda it: it.classify(["a", "a nan"], None, ClassifyOptions(candidate_labels=["a", "b"])),
        INTERNAL,
        "texts[1]",
        "'letters'",
    ),
    "replies": (lambda it: it.reply_batch(["a", "nan"], None, None), INTERNAL, "messages[1]", "'letters'"),
    "ranks": (lambda it: it.rerank("a", ["a", "nan"], None, None), INTERNAL, "texts[1]", "'letters'"),
    "entities": (lambda it: it.classify_tokens_batch(["a", "nan"], None, None), INTERNAL, "texts[1]", "'letters'"),
    "sparse": (lambda it: it.embed_sparse(["a", "nan"], None, None), INTERNAL, "texts[1]", "'letters'"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals(handler: Handler, name: str) -> None:
    call, code, field, part = REFUSALS[name]
    error = await error_of(call(handler))
    assert (error.code, error.field) == (code, field), error
    assert part in error.message


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.predict("a nan", None),
        lambda it: it.predict_json("a nan", None),
        lambda it: it.embed("a nan", None, None),
        lambda it: it.classify_tokens("a nan", None, None),
        lambda it: it.reply("a nan", None, None),
        lambda it: it.reply_conversation(["a", "nan"], None, None),
    ],
)
async def test_numbers_that_are_none_are_the_models_fault(handler: Handler, call: Any) -> None:
    error = await error_of(call(handler))
    assert error.code == INTERNAL
    assert error.message.startswith("the model 'letters' gave numbers that are NaN or infinite on this input")
    assert error.request_id


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.embed_tokens(["aa bb cc"] * 20, None, None),
        lambda it: it.embed_sparse(["abcdefgh"] * 20, None, None),
        lambda it: it.tokenize(["ab cd ef"] * 20, None, None),
        lambda it: it.embed_batch(["a"] * 20, None, None),
        lambda it: it.embed_ids([[0]] * 40, None, None),
        lambda it: it.predict_batch(["abcdefgh"] * 10, None),
        lambda it: it.classify(["abcdefgh"] * 10, None, None),
        lambda it: it.classify(["a"] * 20, None, ClassifyOptions(candidate_labels=["a" * 20, "b" * 20])),
        lambda it: it.classify_tokens_batch(["Ab cd Ef"] * 20, None, None),
        lambda it: it.reply_batch(["a" * 18] * 40, None, None),
        lambda it: it.rerank("a", ["a"] * 60, None, None),
    ],
)
async def test_an_answer_over_the_limit_of_messages_is_refused(model: Letters, call: Any) -> None:
    settings = Settings(message_bytes=1024)
    handler = Handler(registry_of(settings, letters=model), settings, lambda: STATUS)
    error = await error_of(call(handler))
    assert (error.code, error.setting) == (LARGE, "message_bytes")


async def test_fewer_bytes_a_vector_let_more_of_them_pass(model: Letters) -> None:
    settings = Settings(message_bytes=1024)
    handler = Handler(registry_of(settings, letters=model), settings, lambda: STATUS)
    for options, most in ((None, 32), (EmbedOptions(encoding=VectorEncoding.BINARY), 1024)):
        assert (await result(handler.embed_matrix(["a"] * most, None, options))).rows == most
        assert (await error_of(handler.embed_matrix(["a"] * (most + 1), None, options))).field == "texts"


# ----------------------------------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("call", "items"),
    [
        (lambda it: it.embed("a", None, None), 1),
        (lambda it: it.embed_matrix(["a"], None, None), 1),
        (lambda it: it.embed_matrix(["a"] * 5, None, None), 5),
        (lambda it: it.embed_batch(["a"] * 5, RequestOptions(), None), 5),
        (lambda it: it.rerank("a", ["a"] * 5, None, None), 5),
        (lambda it: it.predict_batch(["a"] * 5, None), 5),
        (lambda it: it.classify(["a"] * 5, None, ClassifyOptions(candidate_labels=["a", "b"])), 10),
        (lambda it: it.embed_matrix(["a"] * 700, None, None), 600),
    ],
)
async def test_the_default_deadline_of_a_list_grows_with_its_size(
    handler: Handler, model: Letters, call: Any, items: int
) -> None:
    """10 s, and 1 s for each text beyond the first, up to 10 minutes."""
    before = time.monotonic_ns()
    await result(call(handler))
    after = time.monotonic_ns()
    seconds = min(10 + items - 1, 600)
    assert before <= model.asked[-1][-1].deadline_ns - seconds * 10**9 <= after


async def test_a_deadline_of_the_callers_own_stays_as_it_is(handler: Handler, model: Letters) -> None:
    before = time.monotonic_ns()
    await result(handler.embed_matrix(["a"] * 5, RequestOptions(timeout_ms=3000), None))
    assert before <= model.asked[-1][-1].deadline_ns - 3 * 10**9 <= time.monotonic_ns()


def test_letters_are_what_the_tests_think() -> None:
    assert vector_of("aabbcd")[: len(LETTERS) // 2].tolist() == pytest.approx([2 / 10**0.5] * 2 + [1 / 10**0.5] * 2)
