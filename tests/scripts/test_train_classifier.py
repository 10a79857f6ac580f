"""scripts/train_classifier.py, run as its users run it, and the model that it writes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from scripts import train_classifier as trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT = Path(trainer.__file__)
LABELS = [
    "alarm/modify_alarm",
    "alarm/set_alarm",
    "alarm/snooze_alarm",
    "alarm/time_left_on_alarm",
    "reminder/set_reminder",
    "reminder/show_reminders",
    "weather/find",
]
SMALL = ["--epochs", "2", "--embedding-dim", "8", "--filters", "4"]


def train(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--output", str(output), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def scores(model: torch.jit.ScriptModule, *documents: list[str]) -> list[dict[str, float]]:
    with torch.inference_mode():
        return model(tokens=list(documents))


def difference(left: dict[str, float], right: dict[str, float]) -> float:
    assert left.keys() == right.keys()
    return max(abs(left[label] - right[label]) for label in left)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """What is said about input that cannot be used. In this process: a new one takes seconds to import torch."""

    def say(output: Path, *arguments: str) -> str:
        assert trainer.main(["--output", str(output), *arguments]) == 2
        return capsys.readouterr().err

    threads = torch.get_num_threads()
    yield say
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a run with the default options printed, and the model that it wrote into a folder that did not exist."""
    output = tmp_path_factory.mktemp("trained") / "new" / "folder" / "classifier.pt"
    run = train(output)
    assert run.returncode == 0, run.stderr
    return run.stdout, output


@pytest.fixture(scope="module")
def model(trained: tuple[str, Path]) -> torch.jit.ScriptModule:
    return trainer.load(trained[1])


@pytest.fixture(scope="module")
def examples() -> list[trainer.Example]:
    return trainer.read_examples(trainer.DATA, max_tokens=25)


class TestUtterances:
    def test_are_many_and_distinct(self, examples: list[trainer.Example]) -> None:
        sizes = Counter(example.label for example in examples)
        assert sorted(sizes) == LABELS
        assert min(sizes.values()) >= 90
        lines = trainer.DATA.read_text(encoding="utf-8").splitlines()
        assert len({example.tokens for example in examples}) == len(lines) >= 700

    def test_vary_in_length(self, examples: list[trainer.Example]) -> None:
        lengths = {len(example.tokens) for example in examples}
        assert set(range(1, 13)) <= lengths
        assert 20 <= max(lengths) <= 25


class TestSplit:
    def test_is_the_same_for_any_order_of_the_file(self, examples: list[trainer.Example]) -> None:
        training, test = trainer.split(examples, 0.2)
        again, test_again = trainer.split(reversed(examples), 0.2)
        assert (training, test) == (again, test_again)

    def test_shares_nothing_and_loses_nothing(self, examples: list[trainer.Example]) -> None:
        training, test = trainer.split(examples, 0.2)
        assert not {e.tokens for e in training} & {e.tokens for e in test}
        assert sorted(map(repr, training + test)) == sorted(map(repr, examples))

    def test_takes_the_share_of_each_label(self, examples: list[trainer.Example]) -> None:
        sizes = Counter(example.label for example in examples)
        held_out = Counter(example.label for example in trainer.split(examples, 0.2)[1])
        assert held_out == {label: round(0.2 * size) for label, size in sizes.items()}

    def test_leaves_each_side_an_example(self) -> None:
        pair = [trainer.Example("a", ("x",)), trainer.Example("a", ("y",))]
        assert [len(side) for side in trainer.split(pair, 0.01)] == [1, 1]
        assert [len(side) for side in trainer.split(pair, 0.9)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Set AN alarm", ["set", "an", "alarm"]),
        ("  a\tb\vc\fd\re  ", ["a", "b", "c", "d", "e"]),
        ("ÄÖ É", ["ÄÖ", "É"]),
        ("a\u00a0b\u2003c", ["a\u00a0b\u2003c"]),
        ("a\x1cb", ["a\x1cb"]),
        (" \t", ["<pad>"]),
        ("", ["<pad>"]),
    ],
)
def test_tokens_are_those_of_pytext(text: str, tokens: list[str]) -> None:
    assert trainer.tokenize(text) == tokens


class TestTraining:
    def test_held_out_accuracy(
        self, trained: tuple[str, Path], model: torch.jit.ScriptModule, examples: list[trainer.Example]
    ) -> None:
        _, test = trainer.split(examples, 0.2)
        hits = 0
        for example in test:
            (answer,) = scores(model, list(example.tokens))
            hits += max(answer, key=answer.__getitem__) == example.label
        assert hits / len(test) > 0.9
        assert f"held-out accuracy: {hits / len(test):.3f}" in trained[0]

    def test_report(self, trained: tuple[str, Path], examples: list[trainer.Example]) -> None:
        output, path = trained
        training, test = trainer.split(examples, 0.2)
        assert f"{len(training)} training examples, {len(test)} held out" in output
        losses = [float(loss) for loss in re.findall(r"epoch \d+: loss (\d+\.\d+)", output)]
        assert len(losses) == 12
        assert losses[-1] < losses[0] / 4
        for label in LABELS:
            assert label in output
        assert f"wrote {path} ({path.stat().st_size} bytes" in output

    def test_the_tutorial_s_sentence(self, model: torch.jit.ScriptModule, examples: list[trainer.Example]) -> None:
        sentence = ("set", "an", "alarm")
        assert sentence not in {example.tokens for example in examples}
        (answer,) = scores(model, list(sentence))
        assert max(answer, key=answer.__getitem__) == "alarm/set_alarm"

    def test_leaves_only_the_model(self, trained: tuple[str, Path]) -> None:
        assert list(trained[1].parent.iterdir()) == [trained[1]]

    def test_same_seed_same_file(self, tmp_path: Path) -> None:
        for name, seed in (("first", "3"), ("second", "3"), ("other", "4")):
            assert train(tmp_path / name, *SMALL, "--seed", seed).returncode == 0
        contents = [(tmp_path / name).read_bytes() for name in ("first", "second", "other")]
        assert contents[0] == contents[1]
        assert contents[0] != contents[2]

    def test_any_tsv(self, tmp_path: Path) -> None:
        data = tmp_path / "colours.tsv"
        warm = [f"wärme[{i}]\trot und heiß {i}\r\n" for i in range(10)]
        data.write_bytes("\ufeff".encode() + "\n".join(["kalt\tblau\n", "kalt\tEIS blau\n", "\n"]).encode())
        with data.open("ab") as file:
            file.write("".join(re.sub(r"\[\d\]", "[1]", line) for line in warm).encode())
        run = train(
            tmp_path / "colours.pt", "--data", str(data), *SMALL, "--kernel-sizes", "1", "5", "--max-words", "3"
        )
        assert run.returncode == 0, run.stderr
        assert "wärme[1]" in run.stdout
        (answer,) = scores(trainer.load(tmp_path / "colours.pt"), ["blau"])
        assert answer.keys() == {"kalt", "wärme[1]"}


class TestModel:
    def test_takes_what_pytext_exports_take(self, model: torch.jit.ScriptModule) -> None:
        signature = str(model.forward.schema).partition(" self, ")[2]
        assert signature == (
            "str[]? texts=None, str[][]? multi_texts=None, str[][]? tokens=None, str[]? languages=None)"
            " -> Dict(str, float)[]"
        )

    def test_answers_log_probabilities_of_all_labels(self, model: torch.jit.ScriptModule) -> None:
        (answer,) = scores(model, ["what", "is", "the", "weather"])
        assert sorted(answer) == LABELS
        assert torch.tensor(list(answer.values())).exp().sum().item() == pytest.approx(1, abs=1e-5)

    def test_needs_tokens(self, model: torch.jit.ScriptModule) -> None:
        with pytest.raises(torch.jit.Error, match="tokens is required"):
            model(texts=["set an alarm"])

    def test_no_documents(self, model: torch.jit.ScriptModule) -> None:
        assert scores(model) == []

    def test_a_document_without_tokens_is_pad(self, model: torch.jit.ScriptModule) -> None:
        assert scores(model, []) == scores(model, ["<pad>"])

    def test_unknown_words_are_unk(self, model: torch.jit.ScriptModule) -> None:
        assert scores(model, ["set", "qwertz"]) == scores(model, ["set", "<unk>"])
        assert scores(model, ["set", "qwertz"]) != scores(model, ["set"])

    def test_scores_do_not_depend_on_the_batch(
        self, model: torch.jit.ScriptModule, examples: list[trainer.Example]
    ) -> None:
        documents = [list(example.tokens) for example in examples[::10]]
        alone = [scores(model, document)[0] for document in documents]
        for length in (1, 9, 60):
            together = scores(model, *documents, ["alarm"] * length)
            assert max(map(difference, alone, together)) < 1e-6

    def test_without_a_mask_they_do(self, tmp_path: Path) -> None:
        assert train(tmp_path / "model.pt", *SMALL, "--no-mask").returncode == 0
        unmasked = trainer.load(tmp_path / "model.pt")
        (alone,) = scores(unmasked, ["snooze"])
        assert difference(alone, scores(unmasked, ["snooze"], ["please", "snooze", "it"])[0]) > 1e-5

    @pytest.mark.parametrize("mask", [True, False])
    @pytest.mark.parametrize("kernel_sizes", [(3, 4), (1,), (5, 2, 2)])
    def test_export_is_the_trained_network(self, kernel_sizes: tuple[int, ...], mask: bool) -> None:
        torch.manual_seed(5)
        network = trainer.DocNN(50, 4, embedding_dim=12, filters=6, kernel_sizes=kernel_sizes, mask=mask).eval()
        words = [trainer.PAD, trainer.UNKNOWN, *(f"w{i}" for i in range(48))]
        exported = trainer.Classifier(network, trainer.Vocabulary(words), ["a", "b", "c", "d"])
        for width in (1, 2, 17):
            ids = torch.randint(50, (5, width))
            ids[2, width // 2 :] = trainer.PAD_ID
            with torch.inference_mode():
                torch.testing.assert_close(exported.log_probabilities(ids).float(), network(ids), rtol=0, atol=1e-6)


GOOD = "a\tone\na\ttwo\nb\tthree\nb\tfour\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data.tsv: 0 label(s), at least 2 are needed"),
        (b"a\tone\na\ttwo\n", "data.tsv: 1 label(s), at least 2 are needed"),
        (f"{GOOD}c\tfive\n".encode(), "data.tsv: label 'c' has one example"),
        (f"{GOOD}c\tfive\nc\tFIVE\n".encode(), "data.tsv: label 'c' has one example"),
        (f"{GOOD}no tab here\n".encode(), "data.tsv:5: no tab between label and text"),
        (f"{GOOD}b\t \n".encode(), "data.tsv:5: empty text"),
        (f"{GOOD} \tfive\n".encode(), "data.tsv:5: empty label"),
        (GOOD.encode() + b"b\t\xc3\x28\n", "data.tsv:5: invalid UTF-8 at byte 2"),
        (f"{GOOD}b\t{'x' * 70_000}\n".encode(), "data.tsv:5: the line is longer than 65536 bytes"),
        (f"{GOOD}b\t{'x ' * 600}\n".encode(), "data.tsv:5: 600 tokens, the limit is 512 (--max-tokens)"),
    ],
)
def test_bad_training_sets(refusal: Callable[..., str], tmp_path: Path, content: bytes, message: str) -> None:
    data = tmp_path / "data.tsv"
    data.write_bytes(content)
    assert message in refusal(tmp_path / "model.pt", "--data", str(data))
    assert list(tmp_path.iterdir()) == [data]


def test_missing_training_set(refusal: Callable[..., str], tmp_path: Path) -> None:
    said = refusal(tmp_path / "model.pt", "--data", str(tmp_path / "none.tsv"))
    assert said == f"error: {tmp_path / 'none.tsv'}: No such file or directory\n"


def test_training_set_is_a_folder(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert refusal(tmp_path / "model.pt", "--data", str(tmp_path)) == f"error: {tmp_path}: Is a directory\n"


def test_output_is_a_folder(tmp_path: Path) -> None:
    """As a command: its exit status, and no traceback."""
    run = train(tmp_path)
    assert (run.returncode, run.stderr) == (2, f"error: {tmp_path}: is a directory, --output is the file to write\n")


def test_output_below_a_file(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "model.pt") == f"error: {tmp_path / 'file'}: File exists\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: 0 is not between 1 and 10000"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--learning-rate", "nan"], "argument --learning-rate: nan is not between"),
        (["--test-share", "1"], "argument --test-share: 1 is not between 0.01 and 0.9"),
        (["--kernel-sizes", "3", "65"], "argument --kernel-sizes: 65 is not between 1 and 64"),
        (["--threads", "-1"], "argument --threads: -1 is not between 1 and 256"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as exit_status:
        trainer.main(["--output", str(tmp_path / "model.pt"), *arguments])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err
