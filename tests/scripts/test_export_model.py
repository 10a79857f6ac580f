"""scripts/export_model.py: what it refuses before it compiles, and that nothing is left then.

What it writes is compared with the libraries in tests/server/models/folder/test_programs.py.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from scripts import export_model
from tests.support.folders import heads

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.export_model import Progress


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that sentence-transformers saved."""
    folder = tmp_path_factory.mktemp("exports") / "source"
    heads.sentence_encoder(folder, "ernie", "mean", ["Tanh"])
    return folder


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Options of the compiler, which takes no time: the package is the program itself, or what `module` says."""
    given: list[dict[str, Any]] = []

    def compile_package(program: Any, path: Path, instructions: dict[str, Any], longest: int) -> None:
        given.append({"program": program.module(), "longest": longest, **instructions})
        path.write_bytes(b"package")

    monkeypatch.setattr(export_model, "compile_package", compile_package)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _: given[-1]["program"])
    return given


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert export_model.main([str(argument) for argument in arguments]) == 1
    return capsys.readouterr().err.rpartition("error: ")[2].strip()


def test_the_folder_is_written_without_the_weights(
    source: Path, tmp_path: Path, compiled: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").symlink_to(source)
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)  # an empty one may be there
    assert export_model.main([str(tmp_path / "source"), str(out), "--instructions", "avx2"]) == 0
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert found == kept - {"model.safetensors"} | {"model.pt2"}
    assert (compiled[0]["longest"], compiled[0]["cpp.march"]) == (96, "x86-64-v3")
    captured = capsys.readouterr()
    assert "texts of up to 96 tokens (input_ids, attention_mask, token_type_ids)" in captured.err
    assert f"serve it: python -m server {out}" in captured.out


def test_a_tokenizer_is_made_of_a_vocabulary(source: Path, tmp_path: Path, compiled: list[dict[str, Any]]) -> None:
    old = shutil.copytree(source, tmp_path / "old")
    vocabulary = json.loads((old / "tokenizer.json").read_text())["model"]["vocab"]
    (old / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    (old / "tokenizer.json").unlink()
    assert export_model.main([str(old), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_what_differs_is_not_written(
    source: Path,
    tmp_path: Path,
    compiled: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        torch._inductor, "aoti_load_package", lambda _: lambda *given: 1.01 * compiled[-1]["program"](*given)
    )
    assert "differ from those of transformers by 1.0e-02 of their length" in refusal(capsys, source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_shapes_are_not_written(
    source: Path,
    tmp_path: Path,
    compiled: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        torch._inductor, "aoti_load_package", lambda _: lambda *given: compiled[-1]["program"](*given)[..., :3]
    )
    assert "the package gives (1, 2, 3) where transformers gives (1, 2, 64)" in refusal(
        capsys, source, tmp_path / "out"
    )


def test_a_package_that_fails(
    source: Path,
    tmp_path: Path,
    compiled: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _: lambda *given: 1 / 0)
    said = refusal(capsys, source, tmp_path / "out")
    assert said == "comparing fails on token ids of [1, 2]: ZeroDivisionError: division by zero"


def test_nan_is_an_error(
    source: Path,
    tmp_path: Path,
    compiled: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        torch._inductor, "aoti_load_package", lambda _: lambda *given: torch.nan * compiled[-1]["program"](*given)
    )
    assert "by inf of their length" in refusal(capsys, source, tmp_path / "out")


def test_places_that_a_model_keeps_for_itself(tmp_path: Path, compiled: list[dict[str, Any]]) -> None:
    """RoBERTa's first position is 2 (or what the padding's id says and one more)."""
    heads.transformer(tmp_path / "roberta", "roberta", max_position_embeddings=40)
    settings = tmp_path / "roberta" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 1 << 60}))
    assert export_model.main([str(tmp_path / "roberta"), str(tmp_path / "out")]) == 0
    assert compiled[0]["longest"] == 38


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_packages_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    found = export_model.importlib.util.find_spec
    monkeypatch.setattr(export_model.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    assert f"pip install {package}" in refusal(capsys, tmp_path, tmp_path / "out")


def test_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "needs a C++ compiler (no-such-compiler)" in refusal(capsys, tmp_path, tmp_path / "out")


def test_folders_that_are_none(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in refusal(capsys, tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refusal(capsys, tmp_path / "empty", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "is there already and not empty" in refusal(capsys, source, tmp_path / "full")
    assert "is there already and not empty" in refusal(capsys, source, tmp_path / "full" / "file")
    assert "which is copied: name a folder outside of it" in refusal(capsys, source, source / "out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "abacus"}, "transformers cannot load it: ValueError"),
        ({"architectures": ["ErnieForQuestionAnswering"]}, "ErnieForQuestionAnswering is not served"),
    ],
)
def test_models_that_cannot_be_loaded(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], reason: str
) -> None:
    folder = shutil.copytree(source, tmp_path / "source")
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    assert reason in refusal(capsys, folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_sparse_vectors_are_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads.sparse_encoder(tmp_path / "source", "bert")
    assert "models of sparse vectors are served of their own folders alone" in refusal(
        capsys, tmp_path / "source", tmp_path / "out"
    )


def test_tokenizers_that_cannot_be_read(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(source, tmp_path / "source")
    (folder / "tokenizer.json").unlink()
    assert "expected one of vocab.txt, tokenizer.json" in refusal(capsys, folder, tmp_path / "out")
    (folder / "tokenizer_config.json").write_text("[")
    assert "transformers cannot read the tokenizer" in refusal(capsys, folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("export", "torch.export cannot make a program of it: RuntimeError: first line and more"),
        ("aoti_compile_and_package", "torch's compiler fails: RuntimeError: first line and more"),
    ],
)
def test_what_torch_cannot_do(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    function: str,
    reason: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nand more\nand all")

    monkeypatch.setattr(torch.export if function == "export" else torch._inductor, function, fail)
    assert refusal(capsys, source, tmp_path / "out") == reason


def test_a_text_that_transformers_fails_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Progress) -> None:
        raise AssertionError

    class Module(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            raise IndexError("out of range")

    folder = export_model.model_folder.described(
        source, export_model.NO_OPTIONS, export_model.programs.ProgramFile(tmp_path, "")
    )
    with pytest.raises(export_model.ModelError, match="transformers fails on a text of 96 tokens: IndexError: out of"):
        export_model.longest_text(Module(), export_model.Batches(["input_ids", "attention_mask"], folder), folder)


@pytest.mark.parametrize("kind", ["BartConfig", "T5Config"])
def test_the_last_end_token_is_found_as_transformers_finds_it(kind: str) -> None:
    """Of classifiers that read the decoder's state there, also where a text has several."""
    import transformers

    names = ["input_ids", "attention_mask"]
    sizes = {"d_model": 16, "decoder_layers": 1, "encoder_layers": 1, "num_layers": 1, "d_ff": 20, "vocab_size": 50}
    heads_of = {"num_heads": 2, "d_kv": 8, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = getattr(transformers, kind)(**sizes, **heads_of, eos_token_id=2, pad_token_id=1, decoder_start_token_id=2)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.tensor([[5, 2, 7, 8, 2, 1], [5, 6, 2, 9, 10, 2]])
    inputs = (ids, (ids != 1).long())
    with torch.inference_mode():
        right = export_model.as_module(model, names, export_model.model_folder.CLASSES)(*inputs)
        found = export_model.as_exportable(model, names, export_model.model_folder.CLASSES)(*inputs)
    assert right.shape == (2, config.num_labels)
    torch.testing.assert_close(found, right)
