"""Models of a hub: which files are fetched, and what is refused before any weight comes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from server.config import Settings
from server.errors import ModelError
from server.hub.errors import HubError, HubUnavailableError
from server.hub.location import parse
from server.hub.stop import Stop
from server.models import kinds
from server.models.from_hub import Download, Fetched
from server.models.options import split_options
from server.models.requests import ITS_OWN_SCORES
from tests.e2e import folders
from tests.server.models.test_refusals import BERT, folder_of
from tests.server.waiting import result
from tests.support.folders import forms, generated, heads, language_models
from tests.support.folders.served import context
from tests.support.generators import train_tiny
from tests.support.hub import LARGE, WRONG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.hub import LocalHub, Served
    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

FAST = Settings(warm_up_tokens=0, replicas=1)
NOT_READ = {
    "README.md": "a model",
    ".gitattributes": "*.bin filter=lfs",
    "pytorch_model.bin": "an older copy",
    "model_fp16.safetensors": "a variant",
    "tf_model.h5": "TensorFlow's",
    "flax_model.msgpack": "Flax's",
    "onnx/model.onnx": "ONNX",
    "openvino/openvino_model.bin": "OpenVINO",
    "model-q8_0.gguf": "llama.cpp's",
    "training_args.bin": "a pickle",
    "checkpoint-10/config.json": "{}",
    "checkpoint-10/model.safetensors": "an earlier one",
}


class Place:
    """Where a test's models come from, and where they are put."""

    def __init__(self, hub: LocalHub, tmp_path: Path) -> None:
        self.hub = hub
        self.cache = tmp_path / "cache"

    def download(self, location: str = "hf://owner/name", max_bytes: int = 1 << 30) -> Download:
        alone, options = split_options(location)
        return Download(
            parse(*alone.removeprefix("hf://").split("@")),
            lambda folder: kinds.check_folder(folder, FAST, options),
            Stop(),
            cache=self.cache,
            max_bytes=max_bytes,
        )

    def fetched(self, location: str = "hf://owner/name") -> Fetched:
        return self.download(location).fetched()

    def refusal(self, location: str = "hf://owner/name") -> str:
        """Of a model that cannot be served: none of its weights may have been asked for."""
        with pytest.raises(ModelError) as caught:
            self.fetched(location)
        assert [line for line in self.hub.asked if line.endswith(LARGE)] == []
        assert "predictor-hub-" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def place(hub: LocalHub, tmp_path: Path) -> Place:
    return Place(hub, tmp_path)


@pytest.fixture
def bert(place: Place, shared_files: SharedFiles, tmp_path: Path) -> Served:
    """A classifier that may be changed."""
    made = folders.made(shared_files, ["topics"])["topics"]
    return place.hub.add("owner/name", shutil.copytree(made, tmp_path / "bert"))


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("name", ["Llama", "GPT-NeoX", "Llama: unigrams"])
async def test_other_generators(place: Place, tmp_path: Path, name: str) -> None:
    """Their texts are those of the folder."""
    (row,) = (row for row in language_models.ROWS if row.name == name)
    (tmp_path / "model").mkdir()
    row.write(tmp_path / "model")
    wanted = names_in(tmp_path / "model")
    folder_of(tmp_path / "model", {"onnx/model.onnx": b"ONNX"})
    place.hub.add("owner/name", tmp_path / "model")
    settings = FAST.model_copy(update={"hub_cache": place.cache})
    found = await kinds.fetched("hf://owner/name", settings, Stop())
    assert found is not None
    assert names_in(found.folder) == wanted
    texts = []
    for model in (await kinds.load("hf://owner/name", settings, found), await kinds.load(tmp_path / "model", settings)):
        texts.append(await generated.given(model, ["the boat", "a lamp is"]))
        await model.close()
    assert texts[0] == texts[1]


STATIC = {"model2vec": heads.model2vec, "static": lambda folder: heads.static_encoder(folder, normalize=True)}


@pytest.mark.parametrize("name", [*folders.WRITERS, *STATIC])
def test_a_model_of_each_kind(place: Place, shared_files: SharedFiles, tmp_path: Path, name: str) -> None:
    """All that the loader reads has come, and the copies for others have not."""
    written = tmp_path / "all"
    if name in STATIC:
        STATIC[name](written)
    else:
        shutil.copytree(folders.made(shared_files, [name])[name], written)
    wanted = names_in(written) - {"README.md"}
    folder_of(written, {file: text.encode() for file, text in NOT_READ.items()})
    served = place.hub.add("owner/name", written)
    found = place.fetched()
    assert names_in(found.folder) == wanted == {file.name for file in found.files}
    assert found.commit == served.commit
    assert place.hub.asked_for("") != []
    place.hub.asked.clear()
    assert place.fetched() == found
    assert len(place.hub.asked) == 1  # what the revision is


@pytest.mark.parametrize("form", [forms.in_shards, forms.in_torch_shards, forms.as_torch_file, forms.by_older_versions])
def test_other_forms_of_a_folder(
    place: Place, shared_files: SharedFiles, tmp_path: Path, form: Callable[[Path], object]
) -> None:
    name = "encoder" if form is forms.by_older_versions else "topics"
    folder = shutil.copytree(folders.made(shared_files, [name])[name], tmp_path / "form")
    form(folder)
    wanted = names_in(folder) - {"README.md"}
    folder_of(folder, {"onnx/model.onnx": b"ONNX"})
    place.hub.add("owner/name", folder)
    found = names_in(place.fetched().folder)
    assert found <= wanted
    assert wanted - found <= {"vocab.txt", "special_tokens_map.json"}


def test_a_generator(place: Place, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "gpt2", steps=1)
    wanted = names_in(folder)
    folder_of(folder, {"64.tflite": b"", "rust_model.ot": b"", "onnx/model.onnx": b""})
    place.hub.add("owner/name", folder)
    found = place.fetched()
    assert names_in(found.folder) <= wanted
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names_in(found.folder)


async def test_answers_are_those_of_the_folder(place: Place, bert: Served) -> None:
    """By both ways to load, with options behind the location."""
    settings = FAST.model_copy(update={"hub_cache": place.cache})
    found = await kinds.fetched("hf://owner/name,precision=int8", settings, Stop())
    assert found is not None
    models = [
        await kinds.load("hf://owner/name,precision=int8", settings, found),
        await kinds.load(f"{bert.folder},precision=int8", settings),
    ]
    texts = ["the harbour is small", "a lamp"]
    answers = [[await result(model.predict(text, ITS_OWN_SCORES, context())) for text in texts] for model in models]
    assert answers[0] == answers[1]
    assert models[0].details["precision"] == "int8"
    for model in models:
        await model.close()


PROGRAMS = {"model.pt2": b"PK", "model.pt": b"PK", "saved_model.pb": b"", "variables/variables.index": b""}


async def test_programs_that_others_put_into_the_cache_are_not_run(place: Place, bert: Served) -> None:
    """As who downloads everything has them there."""
    folder_of(bert.folder, PROGRAMS)
    settings = FAST.model_copy(update={"hub_cache": place.cache})
    found = await kinds.fetched("hf://owner/name", settings, Stop())
    assert found is not None
    assert not PROGRAMS.keys() & names_in(found.folder)
    folder_of(found.folder, PROGRAMS)
    model = await kinds.load("hf://owner/name", settings, found)
    assert "program" not in model.details
    assert await result(model.predict("a lamp", ITS_OWN_SCORES, context()))
    await model.close()


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"model_type": "bart", "is_encoder_decoder": True},
            "its architecture is 'bart' (model_type in config.json), an encoder with a decoder, which does not",
        ),
        ({"model_type": "xlnet"}, "its architecture is 'xlnet' (model_type in config.json); served are albert, bert,"),
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering is not served"),
        ({"quantization_config": {"quant_method": "gptq"}}, "weights that are quantised already are not served"),
        ({"id2label": "many"}, "id2label"),
    ],
)
def test_a_configuration_that_is_not_served(place: Place, bert: Served, change: dict[str, Any], reason: str) -> None:
    config = forms.read_json(bert.folder / "config.json")
    forms.write_json(bert.folder / "config.json", config | change)
    assert reason in place.refusal()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no kind of model that this server knows is in this folder"),
        ({"model-q4.gguf": b"GGUF"}, "model-q4.gguf is a GGUF file, which is served by itself: name the file"),
        ({"onnx/model.onnx": b""}, "onnx/model.onnx: ONNX is read where its config.json"),
        ({"saved_model.pb": b"", "variables/variables.index": b""}, "no kind of model that this server knows"),
        ({"model.pt2": b"PK", "tokenizer.json": b""}, "A program of a hub is not run"),
        ({"config.json": BERT, "model.pt": b"PK", "tokenizer.json": b""}, "A program of a hub is not run"),
        ({"adapter_config.json": {}, "adapter_model.safetensors": b""}, "M.from_pretrained('owner/name').merge_and_"),
        ({"encoder/config.json": BERT}, "there is no config.json in it; name the folder itself, such as encoder"),
        ({"config.json": BERT, "model_head.pkl": b""}, "a SetFit model: its labels are in model_head.pkl, a pickle"),
        ({"config.json": BERT, "tf_model.h5": b""}, "its weights are tf_model.h5, TensorFlow's, which are not read"),
        ({"config.json": BERT, "model_fp16.safetensors": b""}, "not model_fp16.safetensors"),
        ({"config.json": BERT, "onnx/model.onnx": b""}, "its weights are ONNX (onnx/model.onnx), which is"),
        ({"config.json": BERT | {"model_type": "abacus"}, "model.pt2": b""}, "its architecture is 'abacus'"),
        ({"config.json": b"{"}, "config.json is no JSON"),
        ({"config.json": BERT, "model.safetensors": b""}, "there is no tokenizer.json, nor a vocabulary that"),
        ({"config.json": BERT, "model.safetensors": b"", "spiece.model": b""}, "spiece.model (SentencePiece) is not"),
        ({"config.json": {"model_type": "gpt2", "vocab_size": 0}}, "config.json: vocab_size: expected a number from 1"),
        ({"modules.json": []}, "modules.json: expected a list of modules"),
        ({"modules.json": [{"type": "mine.Module", "path": ""}]}, "mine.Module is code of the folder's own, which is"),
        ({"modules.json": [{"type": "sentence_transformers.models.Transformer", "path": "../x"}]}, "lies outside of"),
        (
            {"config.json": BERT, "model.safetensors.index.json": {"weight_map": {"a": "../secret.safetensors"}}},
            "weight_map of 'a': expected the name of a file in the folder, got '../secret.safetensors'",
        ),
    ],
)
def test_what_is_not_served(place: Place, tmp_path: Path, files: dict[str, Any], reason: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    place.hub.add("owner/name", folder_of(folder, files))
    assert reason in place.refusal()


def test_a_field_of_the_tokenizer_that_is_not_known(place: Place, bert: Served) -> None:
    path = bert.folder / "tokenizer_config.json"
    forms.write_json(path, forms.read_json(path) | {"strange": 1})
    assert "tokenizer_config.json: strange" in place.refusal()
    assert place.fetched("hf://owner/name,ignore=strange").files


def test_an_option_that_does_not_fit(place: Place, bert: Served) -> None:
    assert "pooling is an option of models that give vectors alone" in place.refusal("hf://owner/name,pooling=cls")


def test_options_of_a_generator(place: Place, tmp_path: Path) -> None:
    place.hub.add("owner/name", folder_of(tmp_path / "model", {"config.json": {"model_type": "gpt2"}}))
    assert "vocab_size: expected a number" in place.refusal("hf://owner/name,precision=int8")
    assert "its architecture is 'gpt2'" in place.refusal("hf://owner/name,pooling=mean")


def test_a_generator_without_weights(place: Place, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "gpt2", steps=1)
    (folder / "model.safetensors").unlink()
    place.hub.add("owner/name", folder)
    assert "there are no weights in it: expected model.safetensors or pytorch_model.bin" in place.refusal()


def test_a_missing_shard(place: Place, bert: Served) -> None:
    forms.in_shards(bert.folder)
    missing = min(bert.folder.glob("*.safetensors"))
    missing.unlink()
    assert f"model.safetensors.index.json names {missing.name}, which is not there" in place.refusal()


def test_a_model_over_the_limit(place: Place, bert: Served) -> None:
    with pytest.raises(HubError, match=r"its files have \d+ bytes; at most 1000 are fetched \(setting hub_max_bytes\)"):
        place.download(max_bytes=1000).fetched()
    assert place.hub.asked_for("model.safetensors") == []


def test_a_configuration_that_is_no_configuration(place: Place, bert: Served) -> None:
    def huge(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [file | {"size": 1 << 40} if file["rfilename"] == "config.json" else file for file in files]

    bert.siblings = huge
    assert place.refusal() == "config.json has 1099511627776 bytes; at most 268435456 are read"


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../b", "C:\\x"])
def test_hostile_names(place: Place, bert: Served, tmp_path: Path, name: str) -> None:
    bert.siblings = lambda files: [*files, files[0] | {"rfilename": name}]
    assert "which can be no file below a model's folder: nothing is fetched" in place.refusal()
    assert place.hub.asked_for("") == []
    assert not place.cache.exists()


def test_no_room_on_the_disk(place: Place, bert: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.hub.store._SPARE_BYTES", 1 << 60)
    assert "are to be fetched, and the disk of" in place.refusal()


# --------------------------------------------------------------------------------------------------- versions and cache


def test_versions(place: Place, bert: Served) -> None:
    first = place.fetched()
    config = forms.read_json(bert.folder / "config.json")
    forms.write_json(bert.folder / "config.json", config | {"_name_or_path": "changed"})
    bert.commit = "d" * 40
    place.hub.asked.clear()
    second = place.fetched()
    assert (second.commit, second.folder.name) == ("d" * 40, "d" * 40)
    assert forms.read_json(second.folder / "config.json")["_name_or_path"] == "changed"
    assert first.folder.is_dir()
    assert len(place.hub.asked_for("")) == 1  # the one file that is another


def test_where_the_hub_cannot_be_asked_the_cache_serves(
    place: Place, bert: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = place.fetched()
    bert.commit = "d" * 40
    place.hub.busy = 99
    assert place.fetched() == found._replace(files=())
    assert place.fetched(f"hf://owner/name@{found.commit}").folder == found.folder
    with pytest.raises(HubUnavailableError, match=r"answers 503 .*; and .*cache does not have it"):
        place.fetched("hf://owner/name@other")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place.hub.asked.clear()
    assert place.fetched().folder == found.folder
    assert place.hub.asked == []


def test_who_has_the_model_does_not_wait_for_a_busy_hub(place: Place, bert: Served) -> None:
    found = place.fetched()
    place.hub.busy, place.hub.busy_headers = 1, {"Retry-After": "120"}
    assert place.fetched() == found._replace(files=())


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_cache_that_is_not_whole_does_not_serve(
    place: Place, bert: Served, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    (place.fetched().folder / missing).unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnavailableError, match=r"HF_HUB_OFFLINE is set.*cache has of it is not whole: "):
        place.fetched()


def test_an_interrupted_download_serves_nothing(place: Place, bert: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    bert.faults["model.safetensors"] = [WRONG]
    with pytest.raises(HubError, match="what came is not what the hub lists"):
        place.fetched()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnavailableError, match="does not have it"):
        place.fetched()


def test_what_the_libraries_fetched_is_used(place: Place, bert: Served) -> None:
    """And they use what we fetched."""
    from huggingface_hub import hf_hub_download

    def theirs(file: str) -> str:
        return hf_hub_download("owner/name", file, cache_dir=place.cache, endpoint=place.hub.address)

    for file in ("config.json", "model.safetensors"):
        theirs(file)
    place.hub.asked.clear()
    found = place.fetched()
    assert {line.rpartition("/")[2] for line in place.hub.asked_for("")} == {"tokenizer.json", "tokenizer_config.json"}
    place.hub.asked.clear()
    assert theirs("tokenizer.json") == str(found.folder / "tokenizer.json")
    assert [line for line in place.hub.asked if line.startswith("GET")] == []


def test_a_cache_that_cannot_be_written_serves_what_it_has(place: Place, bert: Served) -> None:
    """Be it with links or without."""
    found = place.fetched()
    for path in found.folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    shutil.rmtree(place.cache / "models--owner--name" / "blobs")
    before = {path: path.stat().st_mtime_ns for path in place.cache.rglob("*")}
    place.hub.asked.clear()
    assert place.fetched() == found
    assert place.hub.asked_for("") == []
    assert {path: path.stat().st_mtime_ns for path in place.cache.rglob("*")} == before


def test_a_cache_that_is_none(place: Place, bert: Served) -> None:
    place.cache.write_text("a file")
    assert place.refusal().endswith("Not a directory (setting hub_cache)")


def test_single_files(place: Place, tmp_path: Path) -> None:
    place.hub.add("owner/name", folder_of(tmp_path / "model", {"name-q8_0.gguf": b"GGUF", "name-q4_0.gguf": b"GGUF4"}))
    download = place.download()
    (file,) = download.named(["name-q8_0.gguf"])
    assert download.blob(file).read_bytes() == b"GGUF"
    assert [file.size for file in download.listed(["name-q4_0.gguf", "name-q8_0.gguf"])] == [5, 4]
    with pytest.raises(HubError, match=r"there is no file name-Q8.gguf: is it name-q\d_0.gguf or name-q\d_0.gguf\?"):
        download.listed(["name-Q8.gguf"])
    with pytest.raises(HubError, match=r"there is no file zzz$"):
        download.named(["zzz"])
