"""Every form of TorchScript export that PyText made: it answers as the model itself does, or is refused at load."""

from __future__ import annotations

import contextlib
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ext._torchscript import ModelError, TorchScriptEngine
from scripts.train_classifier import tokenize
from tests.ext.torchscript.modules import INTERNAL, OK, TOO_LONG, TOO_MANY_BYTES, UNPROBED, Engine, alone, assert_close
from tests.support import zoo as models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Zoo = Callable[[str], Path]

TEXTS = ["Set an ALARM", "what is the weather like in Zürich tomorrow", "hi", "", "remind me to call"]

# name: (whether it is given texts, kind of output, numbers in a vector)
ANSWERING = {
    "doc_model_0_2": (False, "labels", 0),
    "doc_model": (False, "labels", 0),
    "older_demo": (False, "labels", 0),
    "script_pytext_module": (True, "labels", 0),
    "layer_module": (True, "labels", 0),
    "label_sets": (False, "label_sets", 0),
    "word_tagging": (False, "label_sets", 0),
    "intent_slot": (False, "labels", 0),
    "regression": (False, "score", 0),
    "embedding_tensor": (False, "vectors", models.DIMENSION),
    "embedding_list": (False, "vectors", models.DIMENSION),
    "docnn_mask": (False, "labels", 0),
    "docnn_no_mask": (False, "labels", 0),
}
REFUSED = {
    "doc_model_0_2_dense": "forward needs the input `dense_feat: List.List.float..`",
    "doc_model_dense": "dense_feat is required",
    "with_dense_first": "forward needs the input `dense_feat: ",
    "with_dense_last": "dense_feat is required",
    "layer_module_dense": "forward needs the input `dense_feat: ",
    "pairwise": "forward takes `texts1`, `tokens1`, `texts2`, `tokens2`, but neither `texts: ",
    "foreign_input": "forward needs the input `pixels: Tensor`",
    "returns_int": "forward returns int; ",
    "too_few_results": "the model gave 1 results for 2 documents",
}


def served(value: Any) -> Any:
    """A document's result as the engine gives it."""
    if isinstance(value, float):
        return {"score": value}
    if isinstance(value, Tensor):
        return value.flatten().tolist()
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if isinstance(value, list):
        return {f"{i}:{label}": score for i, scores in enumerate(value) for label, score in scores.items()}
    return value


def test_all_models_of_the_zoo_are_tried() -> None:
    delays_and_faults = {"poison", "slow_20ms", "slow_200ms"}
    assert ANSWERING.keys() | REFUSED.keys() | delays_and_faults == models.MODELS.keys()


@pytest.mark.parametrize("name", ANSWERING)
def test_an_export_answers_as_the_model_itself(zoo: Zoo, name: str) -> None:
    takes_texts, output, dimensions = ANSWERING[name]
    texts = [text for text in TEXTS if text or not takes_texts]
    with Engine(zoo(name), warm_up_tokens=0, hold=len(texts)) as engine:
        native = engine.native
        assert (native.takes_texts, native.output, native.dimensions) == (takes_texts, output, dimensions)
        for value, expected in zip(engine.values(texts), alone(zoo(name), texts), strict=True):
            assert_close(value, served(expected))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_in_one_line_that_says_why(zoo: Zoo, name: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[name]) as refusal:
        TorchScriptEngine(str(zoo(name)), warm_up_tokens=0)
    assert "\n" not in str(refusal.value)


def test_labels_are_those_of_the_model_in_its_order(zoo: Zoo) -> None:
    with Engine(zoo("doc_model")) as engine:
        assert engine.native.labels == models.LABELS
    with Engine(zoo("regression")) as engine:
        assert engine.native.labels == ["score"]
    with Engine(zoo("embedding_list")) as engine:
        assert engine.native.labels == []


# ------------------------------------------------------------------------------------------------ files and settings


def test_files_that_are_no_torchscript(tmp_path: Path) -> None:
    paths = [*models.save_broken(tmp_path).values(), tmp_path / "missing.pt", tmp_path]
    for path in paths:
        with pytest.raises(ModelError, match=r"^no TorchScript file: "):
            TorchScriptEngine(str(path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.DocModel02(), tmp_path_factory.mktemp("damaged") / "whole.pt")


def damage(whole: Path, part: str, at: int, byte: int) -> Path:
    """A copy whose part of that name has one other byte; the archive around it is whole."""
    damaged = whole.with_name("damaged.pt")
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(damaged, "w") as copy:
        for entry in source.infolist():
            content = bytearray(source.read(entry))
            if entry.filename.endswith(part):
                content[at % len(content)] = byte
            copy.writestr(entry.filename, bytes(content))
    return damaged


@pytest.mark.slow
@settings(max_examples=100)
@given(part=st.sampled_from(["data.pkl", "zoo.py", "sparse.py", "constants.pkl", "version"]), data=st.data())
def test_a_damaged_file_is_refused_or_served_and_never_crashes(whole: Path, part: str, data: st.DataObject) -> None:
    damaged = damage(whole, part, data.draw(st.integers(0, 5000)), data.draw(st.integers(0, 255)))
    with contextlib.suppress(ModelError):
        TorchScriptEngine(str(damaged), **UNPROBED).close()


def test_a_refusal_that_quotes_broken_bytes_is_text(whole: Path) -> None:
    with pytest.raises(ModelError, match=r"no TorchScript file: .*\ufffd"):
        TorchScriptEngine(str(damage(whole, "zoo.py", 0, 0xFF)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("cut.pt")
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"no TorchScript file: .*zip"):
        TorchScriptEngine(str(cut))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replicas", 0),
        ("replicas", 257),
        ("threads", 0),
        ("threads", -1),
        ("threads", 1_000_000),
        ("warm_up_tokens", 65_537),
        ("warm_up_tokens", -1),
        ("inline_us", -1),
        ("inline_us", 1_000_001),
        ("equal_lengths", "always"),
        ("batch_items", 0),
        ("batch_tokens", 1 << 25),
        ("max_delay_ms", float("nan")),
        ("bulk_share", 1.0),
        ("max_tokens", 0),
        ("max_token_bytes", 15),
        ("max_token_bytes", (1 << 24) + 1),
        ("max_message_bytes", 0),
        ("max_message_bytes", (1 << 24) + 1),
        ("queue_tokens", 1),
        ("queue_items", 0),
        ("hold", 5000),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(zoo: Zoo, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} ") as refusal:
        TorchScriptEngine(str(zoo("doc_model")), **{name: value})
    assert not isinstance(refusal.value, ModelError), "the setting is wrong, not the model"


def test_settings_are_looked_at_before_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^batch_items "):
        TorchScriptEngine(str(tmp_path / "missing.pt"), batch_items=0)
    with pytest.raises(TypeError, match="unknown setting 'replicsa'"):
        TorchScriptEngine(str(tmp_path / "missing.pt"), replicsa=2)


def test_the_warm_up_is_no_longer_than_a_document_may_be(tmp_path: Path) -> None:
    class Picky(models.TokenModel):
        def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
            if max([len(document) for document in tokens]) > 48:
                raise RuntimeError("a document that nobody could have sent")
            return self.scorer(tokens)

    path = models.save(Picky(), tmp_path / "picky.pt")
    Engine(path, max_tokens=48, warm_up_tokens=64).native.close()
    with pytest.raises(ModelError, match=r"fails on 1 documents of up to 64 tokens: .*nobody could have sent"):
        Engine(path, max_tokens=64, warm_up_tokens=64)


# ---------------------------------------------------------------------------------------------------------- tokens


class Echo(nn.Module):
    """One label: the tokens that the model was given."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        return [{"|".join(document): float(len(document))} for document in tokens]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = models.save(Echo(), tmp_path_factory.mktemp("echo") / "echo.pt")
    with Engine(path, **UNPROBED) as engine:
        yield engine


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Set AN Alarm", ["set", "an", "alarm"]),
        ("\ta\n b\v c\f d\r e ", ["a", "b", "c", "d", "e"]),
        ("", ["<pad>"]),
        (" \t\n\v\f\r ", ["<pad>"]),
        ("ZÜRICH Ä İ", ["zÜrich", "Ä", "İ"]),
        ("no\u00a0break em\u2003space next\u0085line", ["no\u00a0break", "em\u2003space", "next\u0085line"]),
        ("file\x1cseparator", ["file\x1cseparator"]),
        ("A\x00B c", ["a\x00b", "c"]),
        ("\x00", ["\x00"]),
        ("😀 DON'T", ["😀", "don't"]),
        ("[@`{ AZaz", ["[@`{", "azaz"]),
    ],
)
def test_tokens(echo: Engine, text: str, tokens: list[str]) -> None:
    assert echo.values([text]) == [{"|".join(tokens): len(tokens)}]


@settings(max_examples=100)
@given(text=st.text(max_size=40).filter(lambda text: "|" not in text))
def test_any_text_is_split_as_in_training(echo: Engine, text: str) -> None:
    tokens = tokenize(text)
    assert echo.values([text]) == [{"|".join(tokens): len(tokens)}]


def test_text_that_is_no_unicode_is_refused_and_the_next_is_served(echo: Engine) -> None:
    with pytest.raises(UnicodeEncodeError):
        echo.submit("half a pair: \ud800")
    assert echo.values(["fine"]) == [{"fine": 1}]


def test_a_document_may_have_max_tokens(zoo: Zoo) -> None:
    with Engine(zoo("doc_model"), max_tokens=3, **UNPROBED) as engine:
        assert engine.submit("one two three") > 0
        assert engine.submit("one two three four") == TOO_LONG
        assert engine.submit("one " * 100_000) == TOO_LONG


def test_a_token_may_have_max_token_bytes(tmp_path: Path) -> None:
    with Engine(models.save(Echo(), tmp_path / "echo.pt"), max_token_bytes=16, **UNPROBED) as engine:
        assert engine.native.byte_limit == "a token of the text has more than 16 bytes (setting max_token_bytes)"
        fits = f"a {'É' * 8} {'b' * 16} c"
        assert engine.values([fits, ""]) == [{fits.replace(" ", "|"): 4}, {"<pad>": 1}]
        for place in ("{}", "{} a", "a {}", "a {} b"):
            for token in ("b" * 17, "É" * 8 + "b", "b" * 1_000_000):
                assert engine.submit(place.format(token)) == TOO_MANY_BYTES


def test_a_text_that_a_model_takes_whole_may_have_max_message_bytes(zoo: Zoo) -> None:
    limits = {"max_message_bytes": 40, "max_token_bytes": 16}
    with Engine(zoo("script_pytext_module"), **limits, **UNPROBED) as engine:
        assert engine.native.byte_limit == "the text has more than 40 bytes (setting max_message_bytes)"
        assert [status for status, _ in engine.answer(["b" * 40, "É" * 20, ""])] == [OK] * 3
        assert engine.submit("a " * 20 + "b") == TOO_MANY_BYTES
        assert engine.submit("É" * 20 + "b") == TOO_MANY_BYTES


# ------------------------------------------------------------------------------------------------ what models may do


class Bytes(nn.Module):
    """Cuts its text inside a character: in a label, or in a message."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            if document[0] == "raise":
                raise RuntimeError("broken at " + document[1][0])
        return [{document[0][0]: 1.0} for document in tokens]


def test_text_that_a_model_cuts_inside_a_character_is_still_text(tmp_path: Path) -> None:
    path = models.save(Bytes(), tmp_path / "bytes.pt")
    with Engine(path, hold=4, **UNPROBED) as engine:
        cut, whole, failed, last = engine.answer(["été", "e", "raise é", "x"])
    assert cut == (OK, {"\ufffd": 1.0})
    assert whole == (OK, {"e": 1.0})
    assert failed[0] == INTERNAL
    assert "broken at \ufffd" in failed[1]
    assert last == (OK, {"x": 1.0})


class ListChanger(nn.Module):
    """Adds to a list that it was given for an input that calls do not carry."""

    def forward(
        self, texts: list[str], multi_texts: list[list[str]], tokens: list[list[str]]
    ) -> list[dict[str, float]]:
        texts.append("another")
        return [{"texts": float(len(texts))} for _ in tokens]


def test_a_list_for_an_input_that_is_not_carried_is_empty_in_every_call(tmp_path: Path) -> None:
    path = models.save(ListChanger(), tmp_path / "changer.pt")
    with Engine(path, **UNPROBED) as engine:
        assert [engine.values(["text"]) for _ in range(3)] == [[{"texts": 1.0}]] * 3


class Scaling(models.TokenModel):
    """An input that calls do not carry, but that has a default."""

    def forward(self, tokens: list[list[str]], scale: float = 2.5) -> list[dict[str, float]]:
        return [{"scale": scale} for _ in tokens]


def test_an_input_with_a_default_gets_it(tmp_path: Path) -> None:
    with Engine(models.save(Scaling(), tmp_path / "scaling.pt"), **UNPROBED) as engine:
        assert engine.values(["any"]) == [{"scale": 2.5}]


class Convolution(nn.Module):
    """Layers that freezing rewrites (batch normalisation) or drops (dropout)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = models.Encoder()
        self.convolution = nn.Conv1d(1, 4, 3)
        self.normalise = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.normalise.running_mean.uniform_(-1, 1)
            self.normalise.running_var.uniform_(0.5, 2)

    def forward(self, tokens: list[list[str]]) -> Tensor:
        features = self.convolution(self.encoder(tokens).unsqueeze(1))
        return self.dropout(self.normalise(features)).flatten(1)


def test_a_model_saved_in_training_mode_is_served_in_evaluation_mode(tmp_path: Path) -> None:
    module = Convolution()
    evaluating = models.save(module, tmp_path / "evaluating.pt")
    training = tmp_path / "training.pt"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(module.train()), training)
    expected = [served(value) for value in alone(evaluating, TEXTS)]
    for path in (evaluating, training):
        with Engine(path, **UNPROBED) as engine:
            for value, vector in zip(engine.values(TEXTS), expected, strict=True):
                assert_close(value, vector)


class WrongShape(nn.Module):
    """A vector where a matrix is expected."""

    def forward(self, tokens: list[list[str]]) -> Tensor:
        return torch.zeros(len(tokens))


class Nothing(models.TokenModel):
    """No results at all."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        return self.scorer(tokens)[:0]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (WrongShape, r"the model gave a tensor of 1 dimensions; expected \[documents, numbers\]"),
        (Nothing, "the model gave 0 results for 1 documents"),
    ],
)
def test_a_model_that_answers_nothing_that_can_be_used_is_refused(
    tmp_path: Path, module: type[nn.Module], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Engine(models.save(module(), tmp_path / "wrong.pt"))
