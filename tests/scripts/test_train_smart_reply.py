"""scripts/train_smart_reply.py: a model built from a small file answers with what was in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.train_smart_reply import main, read_examples
from server.models.smart_reply_engine import SmartReplyInterpreter

ROOT = Path(__file__).parent.parent.parent

CONVERSATIONS = {
    "When is the meeting?": ("At ten.", "I will check."),
    "see you tomorrow": ("See you!",),
    "Can you send me the report, please?": ("Sending now.", "Tonight."),
    "Are you hungry?": ("Yes!", "No, thanks."),
    "Thank you so much!": ("You are welcome.",),
    "Happy birthday, my friend!": ("Thank you!",),
    "I'm late. Don't wait.": ("No problem.",),
    "Wo bist du? \U0001f600": ("Zu Hause. \U0001f3e0",),
}


def write(path: Path, conversations: dict[str, tuple[str, ...]]) -> Path:
    """The file that the script reads."""
    lines = ["\t".join((message, *replies)) for message, replies in conversations.items()]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replies")
    data = write(folder / "replies.tsv", CONVERSATIONS)
    output = folder / "new" / "replies.tflite"
    command = [sys.executable, "scripts/train_smart_reply.py", str(data), "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 messages, 11 replies" in done.stdout
    assert "100.0% of the messages it was built from" in done.stdout
    return output


def test_messages_get_their_own_replies_first(model: Path) -> None:
    engine = SmartReplyInterpreter(model)
    for message, replies in CONVERSATIONS.items():
        answers = engine.replies(message)
        assert set(list(answers)[: len(replies)]) == set(replies), message
        assert all(answers[reply] > 0.3 for reply in replies), answers


def test_a_message_with_words_in_common_gets_them_too(model: Path) -> None:
    engine = SmartReplyInterpreter(model)
    assert next(iter(engine.replies("ok, see you tomorrow"))) == "See you!"
    assert "You are welcome." in engine.replies("thank you so much for that")


def test_one_that_has_nothing_in_common_gets_next_to_nothing(model: Path) -> None:
    assert max(SmartReplyInterpreter(model).replies("quantum zebra").values(), default=0) < 0.3


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    data = write(tmp_path / "replies.tsv", CONVERSATIONS)
    outputs = [tmp_path / name for name in ("a", "b", "c")]
    for output, seed in zip(outputs, ("4", "4", "5"), strict=True):
        assert main([str(data), "--output", str(output), "--seed", seed]) == 0
    first, second, other = (output.read_bytes() for output in outputs)
    assert first == second != other


def test_frequent_replies_score_higher(tmp_path: Path) -> None:
    data = tmp_path / "replies.tsv"
    data.write_text("are you there\tno\n" + "are you there\tyes\n" * 3)
    assert main([str(data), "--output", str(tmp_path / "model")]) == 0
    replies = SmartReplyInterpreter(tmp_path / "model").replies("are you there")
    assert replies == {"yes": pytest.approx(0.75, rel=1e-5), "no": pytest.approx(0.25, rel=1e-5)}


def test_settings_shape_the_model(tmp_path: Path) -> None:
    data = write(tmp_path / "replies.tsv", {"pick one": ("a", "b", "c", "d")})
    output = str(tmp_path / "model")
    sizes = ["--hashes", "7", "--bits", "3", "--max-replies", "2", "--threshold", "0"]
    assert main([str(data), "--output", output, *sizes]) == 0
    assert SmartReplyInterpreter(output).replies("pick one") == {"a": pytest.approx(0.25), "b": pytest.approx(0.25)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "replies.tsv: no messages"),
        (b"\n \n", "replies.tsv: no messages"),
        (b"hi\tho\nhello there\n", "replies.tsv:2: no reply"),
        (b"hi\tho\t\n", "replies.tsv:1: no reply, or an empty one"),
        (b"\tho\n", "replies.tsv:1: empty message"),
        (b"...\tho\n", "replies.tsv:1: the message is only white space and punctuation"),
        (b"hi\xff\tho\n", "replies.tsv:1: invalid UTF-8 at byte 2"),
        (b"h\0i\tho\n", "replies.tsv:1: a NUL character"),
        (b"hi\ta\tb\tc\td\te\tf\n", "6 replies, the limit is 5 (--replies-per-signature)"),
        (b"hi " * 30_000 + b"\tho\n", "the line is longer than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    data = tmp_path / "replies.tsv"
    data.write_bytes(content)
    assert main([str(data), "--output", str(tmp_path / "model")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.tsv")]) == 2
    assert "none.tsv: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--bits", "21"), ("--hashes", "0"), ("--threshold", "2"), ("--max-replies", "x"), ("--seed", "-1")]
)
def test_settings_out_of_range_are_refused(capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["replies.tsv", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_byte_order_mark_and_windows_lines_are_no_part_of_the_text(tmp_path: Path) -> None:
    data = tmp_path / "replies.tsv"
    data.write_bytes("\ufeffhi\tho\r\n".encode())
    assert [(example.message, example.replies) for example in read_examples(data, 5)] == [("hi", ("ho",))]
