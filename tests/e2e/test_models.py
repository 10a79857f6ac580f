"""Several models in one server: by name, by method, loaded and unloaded while it serves."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, Lane, ModelState, PredictionError, RequestOptions

from scripts.train_classifier import load
from tests.support.service import Service, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DOCUMENT = "set an alarm for tomorrow"
CLIENTS = 16


def error_of(call: Callable[..., Any], *arguments: Any) -> PredictionError:
    """The error that a call raises."""
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    return caught.value


# ------------------------------------------------------------------------------------------------------ several at once


@pytest.fixture(scope="module")
def three(zoo: Callable[[str], Path]) -> Iterator[Service]:
    """A classifier and an embedder with names of their own, and a second classifier with the name of its file."""
    named = [f"--model=first={zoo('docnn_mask')}", f"--model=vectors={zoo('embedding_tensor')}"]
    with Service(*named, f"--model={zoo('poison')}") as service:
        yield service


def test_models_are_listed_with_what_they_serve(three: Service, zoo: Callable[[str], Path]) -> None:
    with three.client() as predictor:
        first, vectors, poison = predictor.list_models()
    assert [first.name, vectors.name, poison.name] == ["first", "vectors", "poison"]
    assert (first.kind, vectors.kind) == ("torchscript-classifier", "torchscript-embedder")
    assert {model.state for model in (first, vectors, poison)} == {ModelState.READY}
    assert first.default_for == ["predict", "predict_batch", "classify"]
    assert vectors.default_for == vectors.methods == ["embed", "embed_batch", "embed_matrix"]
    assert (poison.methods, poison.default_for) == (["predict", "predict_batch", "classify"], [])
    assert vectors.details["dimensions"] == "16"
    assert first.location == zoo("docnn_mask").name, "a client sees no folders of the server's"
    over_http = three.http("/models").json()["models"]
    assert [model["name"] for model in over_http] == ["first", "vectors", "poison"]
    assert over_http[0]["version"] == first.version
    assert len({first.version, vectors.version, poison.version}) == 3


def test_a_request_may_name_its_model(three: Service, zoo: Callable[[str], Path]) -> None:
    own = {name: load(zoo(name))(tokens=[DOCUMENT.split()])[0] for name in ("docnn_mask", "poison")}
    with three.client() as predictor:
        assert predictor.predict(DOCUMENT, None) == pytest.approx(own["docnn_mask"], abs=1e-5)
        assert predictor.predict(DOCUMENT, RequestOptions(model="first")) == pytest.approx(own["docnn_mask"], abs=1e-5)
        by_name = predictor.predict(DOCUMENT, RequestOptions(model="poison", lane=Lane.BULK))
        assert by_name == pytest.approx(own["poison"], abs=1e-5)
    over_http = three.http("/predict?doc=set+an+alarm+for+tomorrow&model=poison").json()["scores"]
    assert over_http == pytest.approx(own["poison"], abs=1e-5)


def test_vectors(three: Service, zoo: Callable[[str], Path]) -> None:
    own = load(zoo("embedding_tensor"))(tokens=[DOCUMENT.split(), ["alarm"]]).tolist()
    with three.client() as predictor:
        assert predictor.embed(DOCUMENT, None, None) == pytest.approx(own[0], abs=1e-6)
        batch = predictor.embed_batch([DOCUMENT, "alarm"], None, None)
        matrix = predictor.embed_matrix([DOCUMENT, "alarm"], None, None)
    assert batch == [pytest.approx(vector, abs=1e-6) for vector in own]
    assert (matrix.rows, matrix.columns, len(matrix.values)) == (2, 16, 2 * 16 * 4)
    assert memoryview(matrix.values).cast("f").tolist() == pytest.approx(own[0] + own[1], abs=1e-6)


def test_unknown_name_and_wrong_kind(three: Service) -> None:
    with three.client() as predictor:
        unknown = error_of(predictor.predict, DOCUMENT, RequestOptions(model="second"))
        wrong = error_of(predictor.predict, DOCUMENT, RequestOptions(model="vectors"))
        unserved = error_of(predictor.generate, DOCUMENT, None, None)
    assert unknown.code == ErrorCode.NOT_FOUND
    assert unknown.message == "options.model: no model is named 'second'; loaded: first, vectors, poison"
    assert wrong.code == ErrorCode.INVALID_ARGUMENT
    assert wrong.message.startswith("options.model: 'vectors' does not serve predict; it serves embed, ")
    assert unserved.code == ErrorCode.NOT_FOUND
    assert "start the server with a text generator (a GPT-2 folder, e.g. `make models/generator`)" in unserved.message
    answer = three.http("/predict?doc=a&model=second")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_loading_is_off_by_default(three: Service, zoo: Callable[[str], Path]) -> None:
    with three.client() as predictor:
        for refused in (
            error_of(predictor.load_model, "first", str(zoo("docnn_mask"))),
            error_of(predictor.unload_model, "first"),
        ):
            assert refused.code == ErrorCode.INVALID_ARGUMENT
            assert "setting model_root" in refused.message
        assert predictor.predict(DOCUMENT, None)


# ------------------------------------------------------------------------------------------------ load, swap and unload


@pytest.fixture
def root(tmp_path: Path, zoo: Callable[[str], Path]) -> Path:
    """A folder for models with two of them, beside a file that lies outside."""
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    shutil.copy(zoo("doc_model"), root / "one.pt")
    shutil.copy(zoo("docnn_mask"), root / "below" / "two.pt")
    shutil.copy(zoo("doc_model"), tmp_path / "outside.pt")
    return root


def test_load_and_unload(root: Path, zoo: Callable[[str], Path]) -> None:
    with Service(root / "one.pt", f"--model-root={root}", "--no-rest") as service, service.client() as predictor:
        info = predictor.load_model("second", "below/two.pt")
        assert (info.name, info.state, info.default_for) == ("second", ModelState.READY, [])
        own = load(zoo("docnn_mask"))(tokens=[DOCUMENT.split()])[0]
        scores = predictor.predict(DOCUMENT, RequestOptions(model="second"))
        assert scores == pytest.approx(own, abs=1e-5)

        predictor.unload_model("one")
        assert [model.name for model in predictor.list_models()] == ["second"]
        assert predictor.predict(DOCUMENT, None) == pytest.approx(own, abs=1e-5), "second is the default now"
        assert error_of(predictor.unload_model, "one").code == ErrorCode.NOT_FOUND

        predictor.unload_model("second")
        nothing = error_of(predictor.predict, DOCUMENT, None)
        assert nothing.code == ErrorCode.NOT_FOUND
        assert "a classifier" in nothing.message


def test_only_below_the_model_root(root: Path, tmp_path: Path) -> None:
    (root / "link.pt").symlink_to(tmp_path / "outside.pt")
    (root / "folder").symlink_to(tmp_path)
    (root / "inner.pt").symlink_to(root / "below" / "two.pt")
    outside = [
        str(tmp_path / "outside.pt"),
        "../outside.pt",
        "below/../../outside.pt",
        "link.pt",
        "folder/outside.pt",
        f"{root}/../outside.pt",
        f"{root}-beside/outside.pt",
        "/etc/hostname",
    ]
    with Service(root / "one.pt", f"--model-root={root}", "--no-rest") as service, service.client() as predictor:
        for location in outside:
            refused = error_of(predictor.load_model, "stranger", location)
            assert refused.code == ErrorCode.INVALID_ARGUMENT, location
            assert "location: lies outside of the folder for models (setting model_root)" in refused.message, location
        assert [model.name for model in predictor.list_models()] == ["one"]
        assert predictor.load_model("absolute", str(root / "below" / "two.pt")).name == "absolute"
        assert predictor.load_model("linked", "inner.pt").name == "linked"


def test_what_cannot_be_loaded_changes_nothing(root: Path, zoo: Callable[[str], Path]) -> None:
    (root / "noise.pt").write_bytes(os.urandom(1000))
    (root / "loop.pt").symlink_to(root / "loop.pt")
    shutil.copy(zoo("foreign_input"), root)
    with Service(root / "one.pt", f"--model-root={root}", "--no-rest") as service, service.client() as predictor:
        before = predictor.predict(DOCUMENT, None)
        for name, location, complaint in [
            ("one", "missing.pt", "no such file"),
            ("one", "below", "no kind of model that this server knows is in this folder"),
            ("one", "noise.pt", "TorchScript"),
            ("one", "foreign_input.pt", "pixels"),
            ("one", "nul\0.pt", "location: "),
            ("one", "x" * 5000, "File name too long"),
            ("one", "loop.pt", "location: "),
            ("bad name", "one.pt", "name: 'bad name' cannot be a model's name"),
            ("", "one.pt", "cannot be a model's name"),
            ("x" * 129, "one.pt", "cannot be a model's name"),
        ]:
            refused = error_of(predictor.load_model, name, location)
            assert refused.code == ErrorCode.INVALID_ARGUMENT, refused.message
            assert complaint in refused.message
            assert predictor.predict(DOCUMENT, None) == pytest.approx(before, abs=1e-5)
        assert [model.name for model in predictor.list_models()] == ["one"]
        assert service.status().ready


def test_a_failed_load_of_a_new_name_leaves_no_name_behind(root: Path) -> None:
    with Service(root / "one.pt", f"--model-root={root}", "--no-rest") as service, service.client() as predictor:
        for number in range(3):
            error_of(predictor.load_model, f"new-{number}", "missing.pt")
        assert [model.name for model in predictor.list_models()] == ["one"]
        assert service.status().ready


def test_swap_under_load_loses_nothing(root: Path, zoo: Callable[[str], Path]) -> None:
    either = [load(zoo(name))(tokens=[DOCUMENT.split()])[0] for name in ("doc_model", "docnn_mask")]
    over = threading.Event()

    def ask(_: int) -> list[dict[str, float]]:
        answers = []
        with service.client() as predictor:
            while not over.is_set():
                answers.append(predictor.predict(DOCUMENT, RequestOptions(model="one")))
        return answers

    with Service(root / "one.pt", f"--model-root={root}", "--no-rest") as service, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask, number) for number in range(CLIENTS)]
        try:
            with service.client() as predictor:
                versions = [predictor.load_model("one", name).version for name in ("below/two.pt", "one.pt") * 2]
                eventually(lambda: predictor.status().models[0].completed > 2 * CLIENTS, "the last one answers")
        finally:
            over.set()
        answers = [scores for client in clients for scores in client.result(60)]

    assert versions[0] == versions[2] != versions[1] == versions[3]
    of_model = [[scores == pytest.approx(own, abs=1e-5) for scores in answers] for own in either]
    assert all(sum(given) == 1 for given in zip(*of_model, strict=True)), "an answer of neither model, or of both"
    assert any(of_model[0])
    assert any(of_model[1])


def test_unload_answers_what_waits(root: Path) -> None:
    """The queue holds what comes until 100 wait; unloading lets it go."""
    flags = (f"--model-root={root}", "--no-rest", "--hold=100")
    with Service(root / "one.pt", *flags) as service, service.client() as predictor, service.client() as operator:
        for _ in range(5):
            predictor.send_predict(DOCUMENT, None)
        eventually(lambda: service.model_status().queue_depth == 5, "they wait")
        operator.unload_model("one")
        assert [len(predictor.recv_predict()) for _ in range(5)] == [3] * 5
