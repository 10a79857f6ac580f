"""Models of folders answer as transformers and sentence-transformers do, alone and with every option."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from server.errors import ErrorCode, ModelError
from server.models.capabilities import Capability
from server.models.requests import AS_IT_IS, ITS_OWN_SCORES, Classification, Reading, RequestContext, Tagging
from server.models.vectors import SPARSE
from tests.server.models.folder.tokenizers import change
from tests.server.waiting import error_of, result
from tests.support.folders import forms, heads, reference
from tests.support.sentences import texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.server.models.folder.conftest import Made, Open

pytestmark = pytest.mark.slow  # for transformers

TEXTS = texts(50)
LONG = "the boat in the harbour is small and the lamp is old " * 30


def context() -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + 60 * 10**9, None)


async def vectors(model: Any, given: Sequence[str], reading: Reading = AS_IT_IS) -> NDArray[np.float32]:
    """All submitted before any is awaited: they share batches."""
    pending = [model.embed(text, reading, context()) for text in given]
    return np.stack([np.frombuffer(await result(each), "<f4") for each in pending])


def largest_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Relative to the largest number."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# ---------------------------------------------------------------------------------------------------- sentence vectors

PROMPTED = {"prompts": heads.PROMPTS, "default_prompt_name": "document"}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("bert",), {}),
        (("roberta", "cls", ("normalize",)), {}),
        (("mpnet", ("max", "mean"), ("layer_norm", "ReLU")), {}),
        (("distilbert", "mean", ("Tanh", "normalize")), {"options": {"truncate_dim": 20}}),
        (("bert", "weightedmean"), {"options": PROMPTED, "include_prompt": False}),
    ],
)
async def test_vectors(made: Made, opened: Open, arguments: Any, options: Any) -> None:
    folder = made(heads.sentence_encoder, *arguments, **options)
    model, wanted = await opened(folder), reference.vectors(folder, TEXTS)
    found = await vectors(model, TEXTS)
    assert largest_error(found, wanted) < 1e-5
    assert model.dimensions == wanted.shape[1]
    assert model.normalized == np.allclose(np.linalg.norm(wanted, axis=1), 1)
    assert model.stats()["batches"] < len(TEXTS), "texts shared batches"
    assert Capability.EMBED in model.capabilities


async def test_prompts(made: Made, opened: Open) -> None:
    folder = made(heads.sentence_encoder, "bert", options=PROMPTED)
    model = await opened(folder)
    for reading, options in (
        (Reading(prompt_name="query"), {"prompt_name": "query"}),
        (Reading(prompt="here: "), {"prompt": "here: "}),
        (Reading(prompt=""), {"prompt": ""}),
        (AS_IT_IS, {}),
    ):
        assert largest_error(await vectors(model, TEXTS, reading), reference.vectors(folder, TEXTS, **options)) < 1e-5

    async def unknown() -> Any:
        return await model.embed("a", Reading(prompt_name="title"), context())

    error = await error_of(unknown())
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert "no prompt is named 'title'; the model's are" in error.message
    assert model.takes >= {"prompt", "prompt_name", "split", "truncation_side"}


async def test_long_texts_are_cut_refused_or_split(made: Made, opened: Open) -> None:
    folder = made(heads.sentence_encoder, "bert")
    model = await opened(folder)
    most = model.limits.max_tokens
    tokens = await model.tokenize(LONG, special_tokens=False)
    assert len(tokens) > 2 * most
    first, last = LONG[: tokens[most - 3].stop], LONG[tokens[2 - most].start :]
    found = await vectors(model, [LONG, first])
    assert np.array_equal(found[0], found[1])
    assert model.stats()["truncated"] == 1
    cut_left = (await vectors(model, [LONG], Reading(truncation_side="left")))[0]
    assert largest_error(cut_left, (await vectors(model, [last]))[0]) < 1e-6

    async def whole() -> Any:
        return await model.embed(LONG, Reading(truncate=False), context())

    error = await error_of(whole())
    assert error.code == ErrorCode.TOO_LARGE
    assert f"more than {most} tokens, the model's limit, and truncate is false" in error.message

    room = most - 2
    parts = [tokens[begin : begin + room] for begin in range(0, len(tokens), room)]
    around = await model.tokenize("", special_tokens=True)
    ids = [[around[0].id, *(token.id for token in part), around[1].id] for part in parts]
    windows = [np.frombuffer(await result(model.embed_ids(each, True, context())), "<f4") for each in ids]
    mean = np.average(windows, axis=0, weights=[len(part) for part in parts])
    split = model.embed(LONG, Reading(split=True), context())
    assert largest_error(np.frombuffer(await result(split), "<f4"), mean) < 1e-5
    assert split.tokens == len(tokens) + 2 * len(parts)
    short = Reading(split=True)
    assert np.array_equal(await vectors(model, ["a boat"], short), await vectors(model, ["a boat"]))


async def test_a_text_over_the_server_s_bytes_is_cut_or_refused(made: Made, opened: Open) -> None:
    model = await opened(made(heads.sentence_encoder, "bert"), max_message_bytes=2000)
    text = "ü" + LONG * 2
    assert np.array_equal(*(await vectors(model, [text, text[:1500]])))
    ends = await vectors(model, [text, text[-1500:]], Reading(truncation_side="left"))
    assert np.array_equal(*ends)
    for reading in (Reading(truncate=False), Reading(split=True)):

        async def refused(reading: Reading = reading) -> Any:
            return await model.embed(text, reading, context())

        error = await error_of(refused())
        assert (error.code, error.setting) == (ErrorCode.TOO_LARGE, "max_message_bytes")


async def test_texts_that_are_ids(made: Made, opened: Open) -> None:
    model = await opened(made(heads.sentence_encoder, "bert"))
    ids = [token.id for token in await model.tokenize("a boat in the harbour", special_tokens=True)]
    found = np.frombuffer(await result(model.embed_ids(ids, True, context())), "<f4")
    assert np.array_equal(found, (await vectors(model, ["a boat in the harbour"]))[0])
    own = model.limits.max_tokens - 2
    cut = [ids[0], *(2 * own * ids[1:2]), ids[-1]]
    kept = [ids[0], *(own * ids[1:2]), ids[-1]]
    of_cut, of_kept = [await result(model.embed_ids(each, True, context())) for each in (cut, kept)]
    assert of_cut == of_kept, "the last special token stays"
    strange = "must begin and end with the model's special tokens ([CLS] ... [SEP])"
    for wrong, reason in (
        ([], strange),
        (ids[1:], strange),
        (ids[:-1], strange),
        ([9906, 1917], strange),
        ([ids[0], 10**6, ids[-1]], "the id 1000000 is over the"),
        ([ids[0], -1, ids[-1]], "the id -1"),
    ):

        async def refused(wrong: Sequence[int] = wrong) -> Any:
            return await model.embed_ids(wrong, True, context())

        error = await error_of(refused())
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert reason in error.message


async def test_a_plain_folder_is_pooled_as_its_option_says(made: Made, opened: Open) -> None:
    folder = made(heads.transformer, "bert")
    model = await opened(folder)
    assert largest_error(await vectors(model, TEXTS), reference.vectors(folder, TEXTS)) < 1e-5
    both = await opened(folder, ",pooling=cls+mean")
    assert both.dimensions == 2 * model.dimensions
    found = await vectors(both, TEXTS)
    assert largest_error(found[:, model.dimensions :], await vectors(model, TEXTS)) < 1e-6
    with pytest.raises(ModelError, match="pooling is not an option of a folder with a modules"):
        await opened(made(heads.sentence_encoder, "bert"), ",pooling=cls")


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
async def test_precisions(made: Made, opened: Open, precision: str) -> None:
    folder = made(heads.sentence_encoder, "bert", "mean", ("normalize",))
    exact, other = await opened(folder), await opened(folder, f",precision={precision}")
    assert other.details["precision"] == precision
    given = [text for text in TEXTS if text.strip()]
    cosines = (await vectors(exact, given) * await vectors(other, given)).sum(1)
    assert 0.98 < cosines.min() < 1 - 1e-7
    assert (await opened(folder, precision=precision)).details["precision"] == precision, "the setting"


async def test_dense_modules_that_add_what_comes_in(made: Made, opened: Open) -> None:
    folder = made(heads.residual_encoder)
    assert largest_error(await vectors(await opened(folder), TEXTS), reference.vectors(folder, TEXTS)) < 1e-5


LONG_WORDS = "internationalisation" * 40


@pytest.mark.parametrize("fields", [{}, {"normalize": False}, {"max_length": 12}, {"max_length": None}])
async def test_model2vec_as_its_own_library_reads_it(
    made: Made, opened: Open, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """Without unknown tokens, and of long texts no more than the beginning, which it counts in characters first."""
    folder = shutil.copytree(made(heads.model2vec), tmp_path / "plain")
    (folder / "modules.json").unlink()
    forms.write_json(folder / "config.json", forms.read_json(folder / "config.json") | fields)
    given = [*TEXTS, "\u4e16 unknown \u754c", "\u4e16", LONG, f"{LONG_WORDS} {LONG_WORDS} {LONG_WORDS} boat"]
    model = await opened(folder, max_tokens=4096)
    assert largest_error(await vectors(model, given), reference.model2vec_vectors(folder, given)) < 1e-3
    assert model.normalized == fields.get("normalize", True)
    assert model.takes == {"prompt", "prompt_name"}

    async def whole() -> Any:
        return await model.embed(LONG, Reading(truncate=False), context())

    if fields.get("max_length", 512):
        assert (await error_of(whole())).code == ErrorCode.TOO_LARGE
    else:
        assert len(await result(whole())) == 4 * model.dimensions


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"head_config": {"labels": 2}}, "", "head_config: Model2Vec's classifiers are not served"),
        ({"new": 1}, "", "config.json: new is not known here"),
        ({"max_length": 0}, "", "max_length: expected a number from 1"),
        ({}, ",pooling=cls", "pooling is not an option of static embeddings"),
    ],
)
async def test_what_is_refused_of_model2vec(
    made: Made, opened: Open, tmp_path: Path, fields: dict[str, Any], options: str, message: str
) -> None:
    folder = shutil.copytree(made(heads.model2vec), tmp_path / "plain")
    (folder / "modules.json").unlink()
    change(folder, "config.json", **fields)
    with pytest.raises(ModelError, match=re.escape(message)):
        await opened(folder, options)


async def test_static_embeddings(made: Made, opened: Open) -> None:
    for folder in (made(heads.model2vec), made(heads.static_encoder, normalize=False)):
        wanted = reference.vectors(folder, TEXTS)
        # the sum of thousands of numbers that nearly cancel out, scaled to length 1
        assert largest_error(await vectors(await opened(folder), TEXTS), wanted) < 1e-3


async def test_a_token_that_the_model_does_not_know_is_the_text_s_error(
    made: Made, opened: Open, tmp_path: Path
) -> None:
    folder = shutil.copytree(made(heads.sentence_encoder, "bert"), tmp_path / "more")
    size = forms.read_json(folder / "config.json")["vocab_size"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"gloop{id_}" for id_ in range(tokenizer.get_vocab_size(), size + 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    model = await opened(folder)
    await vectors(model, ["a boat", f"gloop{size - 1}"])

    async def unknown() -> Any:
        return await model.embed(f"a gloop{size}", AS_IT_IS, context())

    error = await error_of(unknown())
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert f"the token 'gloop{size}' (id {size}) is over the {size} tokens that the model knows" in error.message


# ------------------------------------------------------------------------------------------------------------ classes


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(
    ("options", "function"),
    [
        ({}, softmax),
        ({"problem_type": "multi_label_classification"}, sigmoid),
        ({"labels": ("stars",), "problem_type": "regression"}, lambda logits: logits),
        ({"labels": ("toxic",)}, sigmoid),
    ],
)
async def test_classifiers(made: Made, opened: Open, options: Any, function: Any) -> None:
    folder = made(heads.classifier, "bert", **options)
    model, logits = await opened(folder), reference.logits(folder, TEXTS)
    pending = [model.predict(text, ITS_OWN_SCORES, context()) for text in TEXTS]
    labels = options.get("labels", heads.TOPICS)
    for each, row in zip(pending, function(logits), strict=True):
        assert await result(each) == pytest.approx(dict(zip(labels, row.tolist(), strict=True)), abs=1e-4)
    raw = await result(model.predict(TEXTS[30], Classification(raw_scores=True), context()))
    assert list(raw.values()) == pytest.approx(logits[30].tolist(), abs=1e-4)
    for multi_label, other in ((True, sigmoid), (False, softmax)):
        found = await result(model.predict(TEXTS[30], Classification(multi_label=multi_label), context()))
        assert list(found.values()) == pytest.approx(other(logits[30]).tolist(), abs=1e-4)
    assert (Capability.RERANK in model.capabilities) == (len(labels) == 1)


async def test_labels_of_the_caller_s_own(made: Made, opened: Open) -> None:
    folder = made(heads.classifier, "roberta", labels=heads.ENTAILMENT)
    model = await opened(folder)
    assert "candidate_labels" in model.takes
    labels = ["boat", "lamp", "weather"]
    logits = reference.logits(folder, [(TEXTS[40], f"This example is {label}.") for label in labels])
    for label, row in zip(labels, logits, strict=True):
        found = await result(model.entail(TEXTS[40], f"This example is {label}.", True, context()))
        assert found == pytest.approx((row[0], row[2]), abs=1e-4)
    hypothesis = "this example is about a boat"
    cut = await result(model.entail(LONG, hypothesis, True, context()))
    assert cut == await result(model.entail(LONG * 2, hypothesis, True, context()))
    assert cut != await result(model.entail(LONG, hypothesis + " and", True, context())), "it is read to its end"


async def test_entities(made: Made, opened: Open) -> None:
    folder = made(heads.tagger, "bert")
    model = await opened(folder)
    given = [text for text in TEXTS if text.strip()]
    for aggregation in ("none", "first"):
        pending = [model.classify_tokens(text, Tagging(aggregation), context()) for text in given]
        for each, spans in zip(pending, reference.spans(folder, given, aggregation), strict=True):
            found = await result(each)
            assert [(entity.label, entity.start, entity.stop) for entity in found] == [
                (span["label"], span["start"], span["end"]) for span in spans
            ]
            assert [entity.score for entity in found] == pytest.approx([span["score"] for span in spans], abs=1e-4)
    scores = await result(model.predict(given[20], ITS_OWN_SCORES, context()))
    entities = await result(model.classify_tokens(given[20], Tagging(), context()))
    assert scores == {e.label: max(o.score for o in entities if o.label == e.label) for e in entities}
    assert await result(model.classify_tokens("", Tagging(), context())) == []
    assert len(await result(model.classify_tokens(LONG, Tagging("none", frozenset()), context()))) == 94

    async def whole() -> Any:
        return await model.classify_tokens(LONG, Tagging(truncate=False), context())

    assert (await error_of(whole())).code == ErrorCode.TOO_LARGE


# ------------------------------------------------------------------------------------------------------ scores of pairs


async def test_rerankers(made: Made, opened: Open) -> None:
    folder = made(heads.reranker, "bert")
    model = await opened(folder)
    assert model.capabilities == (Capability.RERANK, Capability.TOKENIZE)
    pairs = [(TEXTS[(7 * i) % len(TEXTS)], text) for i, text in enumerate(TEXTS)]
    pending = [model.score_pair(query, text, True, False, context()) for query, text in pairs]
    found = [await result(each) for each in pending]
    assert found == pytest.approx(reference.scores(folder, pairs).tolist(), abs=1e-4)
    raw = [await result(model.score_pair(query, text, True, True, context())) for query, text in pairs[:5]]
    assert raw == pytest.approx(reference.logits(folder, pairs[:5])[:, 0].tolist(), abs=1e-4)


async def test_an_activation_of_a_reranker(made: Made, opened: Open, tmp_path: Path) -> None:
    folder = shutil.copytree(made(heads.reranker, "bert"), tmp_path / "raw")
    change(folder, "config_sentence_transformers.json", activation_fn="torch.nn.modules.linear.Identity")
    model = await opened(folder)
    score = await result(model.score_pair("a", "b", True, False, context()))
    assert score == pytest.approx(reference.scores(folder, [("a", "b")])[0], abs=1e-4)
    change(folder, "config_sentence_transformers.json", prompts={"query": "q: "}, default_prompt_name="query")
    with pytest.raises(ModelError, match=r"a default prompt \(query\) before pairs of texts is not served"):
        await opened(folder)
    change(folder, "config_sentence_transformers.json", default_prompt_name=None)
    change(folder, "config_sentence_transformers.json", activation_fn="torch.nn.modules.activation.Tanh")
    with pytest.raises(ModelError, match=r"activation_fn is 'torch\.nn\.modules\.activation\.Tanh'; served are"):
        await opened(folder)


# ---------------------------------------------------------------------------------------- sparse and token vectors


async def test_sparse_vectors(made: Made, opened: Open) -> None:
    folder = made(heads.sparse_encoder, "bert")
    model, wanted = await opened(folder), reference.sparse_vectors(folder, TEXTS)
    pending = [model.embed_sparse(text, AS_IT_IS, context()) for text in TEXTS]
    for each, row in zip(pending, wanted, strict=True):
        numbers = np.frombuffer(await result(each), SPARSE)
        dense = np.zeros_like(row)
        dense[numbers["index"]] = numbers["value"]
        assert np.abs(dense - row).max() < 1e-4
        assert (numbers["value"] > 0).all()
    assert model.token_of(2) == "[CLS]"


async def test_token_vectors(made: Made, opened: Open) -> None:
    folder = made(heads.token_encoder, "bert")
    model = await opened(folder)
    pending = [model.embed_tokens(text, AS_IT_IS, context()) for text in TEXTS]
    for each, rows in zip(pending, reference.token_vectors(folder, TEXTS), strict=True):
        found = np.frombuffer(await result(each), "<f4").reshape(-1, model.dimensions)
        assert found.shape == rows.shape
        assert np.abs(found - rows).max() < 1e-4


async def test_tokens(made: Made, opened: Open) -> None:
    model = await opened(made(heads.sentence_encoder, "bert"))
    own = await model.tokenize("A boat", special_tokens=False)
    assert ["A boat"[token.start : token.stop].lower() for token in own] == [token.text.strip("#") for token in own]
    everything = await model.tokenize("A boat", special_tokens=True)
    assert everything[1:-1] == own
    assert [(token.text, token.start) for token in (everything[0], everything[-1])] == [
        ("[CLS]", None),
        ("[SEP]", None),
    ]


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "xlm-roberta"])
@pytest.mark.parametrize("attend", [True, False])
@pytest.mark.parametrize("length", [16, 90])
async def test_queries_and_documents_of_late_interaction(
    made: Made, opened: Open, tmp_path: Path, architecture: str, attend: bool, length: int
) -> None:
    folder = shutil.copytree(made(heads.token_encoder, architecture), tmp_path / "colbert")
    expansion = {"strategy": "fixed", "attend": attend, "length": length}
    change(folder, "sentence_bert_config.json", query_expansion=expansion, document_length=20)
    (mask,) = folder.glob("*_MultiVectorMask/config.json")
    change(mask.parent, "config.json", skiplist_words=[".", ",", "the"])
    model = await opened(folder)
    for reading, task in ((Reading(prompt_name="query"), "query"), (AS_IT_IS, "document")):
        pending = [model.embed_tokens(text, reading, context()) for text in TEXTS]
        for each, rows in zip(pending, reference.token_vectors(folder, TEXTS, task), strict=True):
            found = np.frombuffer(await result(each), "<f4").reshape(-1, model.dimensions)
            assert found.shape == rows.shape
            assert np.abs(found - rows).max(initial=0) < 1e-4


async def test_what_more_is_masked_where_queries_are_expanded(made: Made, opened: Open, tmp_path: Path) -> None:
    folder = shutil.copytree(made(heads.token_encoder, "deberta-v2"), tmp_path / "colbert")
    expansion = {"strategy": "fixed", "attend": False, "length": 16}
    change(folder, "sentence_bert_config.json", query_expansion=expansion)
    with pytest.raises(ModelError, match="query_expansion has attend false, which is not served for deberta-v2"):
        await opened(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 16, "attend_to_expansion_tokens": True},
        {"query_prefix": "[Q]", "document_prefix": "", "do_query_expansion": False, "skiplist_words": ["the"]},
        {"document_prefix": "lamp: ", "query_length": 8, "document_length": 20, "do_query_expansion": False},
        {"attend_to_expansion_tokens": True, "prompts": {"query": "find: "}},
        {"attend_to_expansion_tokens": False},
    ],
)
async def test_what_pylate_saves(made: Made, opened: Open, tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = shutil.copytree(made(heads.token_encoder, "bert"), tmp_path / "pylate")
    forms.by_pylate(folder, ["[Q] ", "[D] ", "[Q]"], **settings)
    model = await opened(folder)
    for reading, task in ((Reading(prompt_name="query"), "query"), (AS_IT_IS, "document")):
        pending = [model.embed_tokens(text, reading, context()) for text in TEXTS]
        for each, rows in zip(pending, reference.token_vectors(folder, TEXTS, task), strict=True):
            found = np.frombuffer(await result(each), "<f4").reshape(-1, model.dimensions)
            assert found.shape == rows.shape
            assert np.abs(found - rows).max(initial=0) < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query_prefix": 1}, "query_prefix and document_prefix: expected strings, got [1, '']"),
        ({"query_length": 0}, "query_length: expected a number from 1, got 0"),
    ],
)
async def test_what_is_refused_of_pylate(
    made: Made, opened: Open, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = shutil.copytree(made(heads.token_encoder, "bert"), tmp_path / "pylate")
    forms.by_pylate(folder, [], **settings)
    with pytest.raises(ModelError, match=re.escape(message)):
        await opened(folder)


async def test_the_greatest_numbers_of_a_sparse_vector(made: Made, opened: Open, tmp_path: Path) -> None:
    folder = shutil.copytree(made(heads.sparse_encoder, "bert"), tmp_path / "sparse")
    change(folder, "config_sentence_transformers.json", max_active_dims=5)
    model, wanted = await opened(folder), reference.sparse_vectors(folder, TEXTS)
    for text, row in zip(TEXTS, wanted, strict=True):
        numbers = np.frombuffer(await result(model.embed_sparse(text, AS_IT_IS, context())), SPARSE)
        assert set(numbers["index"]) == set(np.flatnonzero(row))
        assert len(numbers) <= 5
