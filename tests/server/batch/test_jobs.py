"""Jobs in a server: what they read, what they write, what they refuse."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchStage, BatchState, ErrorCode, OnError, PredictionError

from server.batch.methods.text_methods import TEXT_METHODS
from tests.server.batch.jobs import completed, failed, files_below, flags, read_lines, request, run, write_lines
from tests.support.service import Service
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DOCS = ["set an alarm", "will it rain tomorrow", "remind me to buy milk", "", "café", "snooze"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def service(root: Path, classifier: Path, zoo: Callable[[str], Path]) -> Iterator[Service]:
    models = [classifier, f"--model=poison={zoo('poison')}", f"--model=vectors={zoo('embedding_tensor')}"]
    with Service(*models, f"--model=replies={google_model()}", *flags(root)) as running:
        yield running


@pytest.fixture
def folder(root: Path) -> Iterator[Path]:
    """FOLDER/in for input, FOLDER/out for output; empty."""
    path = root / "case"
    (path / "in").mkdir(parents=True)
    yield path
    shutil.rmtree(path)


def refused(service: Service, job_request: Any) -> PredictionError:
    with service.client() as client, pytest.raises(PredictionError) as caught:
        client.submit_batch(job_request)
    return caught.value


# --------------------------------------------------------------------------------------------------------- results


def test_every_file_has_its_results_in_the_same_place(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a.jsonl", DOCS)
    write_lines(folder / "in" / "sub" / "deep" / "b", [{"doc": doc, "more": 1} for doc in DOCS])
    (folder / "in" / "empty").touch()
    job = completed(service, request(folder))
    assert files_below(folder / "out") == ["a.jsonl", "empty", "sub/deep/b"]
    assert (job.rows_done, job.rows_failed, job.files_done, job.files_total) == (12, 0, 3, 3)
    assert (job.progress, job.error) == (1.0, None)
    assert job.created_at < job.finished_at
    with service.client() as client:
        expected = client.predict_batch(DOCS, None)
    for name in ("a.jsonl", "sub/deep/b"):
        lines = read_lines(folder / "out" / name)
        assert [list(line) for line in lines] == [["scores"]] * len(DOCS)
        for line, scores in zip(lines, expected, strict=True):
            assert line["scores"] == pytest.approx(scores)
            assert list(line["scores"].values()) == sorted(line["scores"].values(), reverse=True)


def test_one_file_alone(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", ["one"])
    write_lines(folder / "in" / "ab", ["other"])
    completed(service, request(folder, input=str(folder / "in" / "a"), output=f"{folder}/out/"))
    assert files_below(folder / "out") == ["a"]


def test_reply(service: Service, folder: Path) -> None:
    messages = ["Hello", "How are you?", "x", "See you tomorrow"] * 50
    write_lines(folder / "in" / "a", [{"message": message, "n": n} for n, message in enumerate(messages)])
    completed(service, request(folder, "reply", key_field="n"))
    lines = read_lines(folder / "out" / "a")
    assert [line["n"] for line in lines] == list(range(200))
    with service.client() as client:
        for line, replies in zip(lines[:4], client.reply_batch(messages[:4], None, None), strict=True):
            assert line["replies"] == pytest.approx(replies)


def test_embed(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", DOCS)
    completed(service, request(folder, "embed", model="vectors"))
    with service.client() as client:
        for line, vector in zip(read_lines(folder / "out" / "a"), client.embed_batch(DOCS, None, None), strict=True):
            assert line["embedding"] == pytest.approx(vector)


def test_packed_files_stay_packed(service: Service, folder: Path) -> None:
    with gzip.open(folder / "in" / "a.jsonl.gz", "wt") as file:
        file.write("\n\n".join(json.dumps(f"set alarm {n}") for n in range(5000)))
    completed(service, request(folder))
    with gzip.open(folder / "out" / "a.jsonl.gz", "rt") as file:
        assert len([json.loads(line)["scores"] for line in file]) == 5000


def test_order_and_keys_of_many_lines_of_any_length(service: Service, folder: Path) -> None:
    docs = [f"word{n} " * (n * n % 97) for n in range(3000)]
    write_lines(folder / "in" / "a", [{"id": [n, "x"], "doc": doc} for n, doc in enumerate(docs)])
    completed(service, request(folder, key_field="id"))
    lines = read_lines(folder / "out" / "a")
    assert [line["id"] for line in lines] == [[n, "x"] for n in range(3000)]
    with service.client() as client:
        assert lines[2000]["scores"] == pytest.approx(client.predict(docs[2000], None))


def test_old_results_are_replaced(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", ["one"])
    write_lines(folder / "out" / "a", ["old"] * 100)
    completed(service, request(folder))
    assert len(read_lines(folder / "out" / "a")) == 1


# ---------------------------------------------------------------------------------------------------------- errors

BAD_LINES = [
    (b'{"doc": "cut', "not JSON: "),
    (b'"caf\xe9"', "not UTF-8: byte 0xe9 at byte 5"),
    (b'{"doc": NaN}', "JSON has no NaN"),
    (b'"' + b"x" * (1 << 20) + b'"', "more than 1048576 bytes (setting batch_text_line_bytes)"),
    (b"[1, 2]", "expected a string, or an object with the string 'doc', got a list"),
    (b'{"text": "other field"}', "'doc'"),
    (b'{"doc": 7}', "'doc'"),
    (b'"%b"' % (b"word " * 5000), "more than 4096 tokens (setting max_tokens)"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason[:20] for _, reason in BAD_LINES])
def test_bad_line_fails_the_job_with_file_and_line(service: Service, folder: Path, line: bytes, reason: str) -> None:
    write_lines(folder / "in" / "a", ["good"])
    (folder / "in" / "b").write_bytes(b'"good"\n\n' + line + b'\n"good"\n')
    write_lines(folder / "in" / "c", ["good"])
    job = failed(service, request(folder))
    assert job.error.startswith(f"cannot make predictions: {folder}/in/b, line 3: ")
    assert reason in job.error
    assert len(job.error) < 1000
    assert job.failed_stage == BatchStage.PREDICTIONS
    assert (job.files_done, job.files_total, job.rows_done) == (1, 3, 1)
    assert files_below(folder / "out") == ["a"], "what was done stays, nothing half-written"


def test_recorded_errors_stand_in_their_lines_places(service: Service, folder: Path) -> None:
    lines = [b'{"id":%d,"doc":"good"}' % n for n in range(40)]
    for place, (line, _) in enumerate(BAD_LINES):
        lines[place * 5] = line
    lines[39] = b'{"id": 39}'
    (folder / "in" / "a").write_bytes(b"\n".join(lines))
    job = completed(service, request(folder, on_error=OnError.RECORD, key_field="id"))
    assert (job.rows_done, job.rows_failed) == (40 - len(BAD_LINES) - 1, len(BAD_LINES) + 1)
    for number, line in enumerate(read_lines(folder / "out" / "a")):
        if number % 5 and number != 39:
            assert line["id"] == number
            assert "scores" in line
        else:
            assert line["error"]["line"] == number + 1
            assert line["error"]["code"] in ("INVALID_ARGUMENT", "TOO_LARGE")
    assert line["id"] == 39, "the key of a line that could be read"


def test_document_that_the_model_fails_on(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", ["one", "a poison document", "three"])
    job = failed(service, request(folder, model="poison"))
    assert f"{folder}/in/a, line 2: " in job.error
    completed(service, request(folder, model="poison", on_error=OnError.RECORD))
    assert [list(line) for line in read_lines(folder / "out" / "a")] == [["scores"], ["error"], ["scores"]]


def test_too_many_errors_fail_the_job(service: Service, folder: Path) -> None:
    for name in ("a", "b", "c"):
        write_lines(folder / "in" / name, ["good", 1, "good", 2])
    job = failed(service, request(folder, on_error=OnError.RECORD, max_errors=5))
    assert f"{folder}/in/c, line 4: " in job.error
    assert "one error more than max_errors (5) allows" in job.error
    assert files_below(folder / "out") == ["a", "b"]
    assert completed(service, request(folder, on_error=OnError.RECORD, max_errors=6)).rows_failed == 6


def test_input_that_cannot_be_read(service: Service, folder: Path) -> None:
    assert f"{folder}/in/none" in failed(service, request(folder, input=f"{folder}/in/none")).error
    assert f"{folder}/in/" in failed(service, request(folder)).error
    (folder / "in" / "a.gz").write_bytes(b"no gzip")
    assert "a.gz cannot be unpacked" in failed(service, request(folder)).error
    assert files_below(folder / "out") == []


def test_output_that_cannot_be_written(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", ["good"])
    (folder / "out").write_text("a file where a folder must be")
    assert f"{folder}/out" in failed(service, request(folder)).error


@pytest.mark.parametrize(
    ("fields", "message", "field", "setting"),
    [
        ({"method": "sing"}, f"must be one of {', '.join(TEXT_METHODS)}, got 'sing'", "method", None),
        ({"method": "x" * 1_000_000}, f"got '{'x' * 127}", "method", None),
        ({"model": "vectors"}, "does not serve predict", "model", None),
        ({"on_error": 7}, "must be 0 (FAIL) or 1 (RECORD), got 7", "on_error", None),
        ({"max_errors": 1}, "can only be given with on_error RECORD", "max_errors", None),
        ({"max_errors": -1, "on_error": 1}, "must be at least 0, got -1", "max_errors", None),
        ({"key_field": ""}, "must have 1 to 256 characters, got 0", "key_field", None),
        ({"key_field": "scores"}, "must be none of the results' own fields (scores, error)", "key_field", None),
        ({"key_field": "error"}, "must be none of the results' own fields (scores, error)", "key_field", None),
        (
            {"key_field": "prediction", "model": "FOLDER/m"},
            "must be none of the results' own fields (prediction, error)",
            "key_field",
            None,
        ),
        ({"key_field": "x" * 257}, "must have 1 to 256 characters, got 257", "key_field", None),
        ({"input": "/etc/passwd"}, "location must start with", "input", "batch_roots"),
        ({"input": "FOLDER/in/../../../x"}, "has the part '..'", "input", None),
        ({"output": "/tmp/elsewhere"}, "batch_roots", "output", "batch_roots"),
        ({"output": "FOLDER/in/"}, "results need a place of their own", "output", None),
        ({"output": "http://host/x"}, "http and https locations are for reading", "output", None),
        ({"input": "gs://bucket/x"}, "batch_schemes", "input", "batch_schemes"),
        ({"input": ""}, "has 1 to 4096 characters", "input", None),
        ({"model": "/etc/model"}, "location must start with", "model", "batch_roots"),
        ({"model": "tfserving://localhost:1/x"}, "(setting batch_schemes)", "model", "batch_schemes"),
        ({"model": "FOLDER/model", "method": "embed"}, "must be predict for a SavedModel", "method", None),
        ({"model": "openai://host:1/name"}, "by the name under which this server has loaded it", "model", None),
        ({"model": "hf://owner/name"}, "by the name under which the server has loaded it", "model", None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_request_that_is_refused(
    service: Service, folder: Path, fields: dict[str, Any], message: str, field: str, setting: str | None
) -> None:
    given = {name: value.replace("FOLDER", str(folder)) for name, value in fields.items() if isinstance(value, str)}
    error = refused(service, request(folder, **(fields | given)))
    assert (error.code, error.field, error.setting) == (ErrorCode.INVALID_ARGUMENT, f"request.{field}", setting)
    assert error.message.startswith(f"request.{field}: ")
    assert message in error.message
    assert len(error.message) < 1000


def test_model_that_is_not_there(service: Service, folder: Path) -> None:
    error = refused(service, request(folder, model="none"))
    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "request.model")
    assert "no model is named 'none'" in error.message


# ------------------------------------------------------------------------------------------------------------ jobs


def test_jobs_are_listed_newest_first_and_unknown_ones_are_not_found(service: Service, folder: Path) -> None:
    write_lines(folder / "in" / "a", ["good"])
    ids = [completed(service, request(folder)).id for _ in range(3)]
    with service.client() as client:
        assert [job.id for job in client.list_batches(2)] == ids[:0:-1]
        for limit in (0, 1001):
            with pytest.raises(PredictionError, match="limit: must lie between 1 and 1000") as wrong:
                client.list_batches(limit)
            assert wrong.value.field == "limit"
        for call in (client.get_batch, client.cancel_batch):
            with pytest.raises(PredictionError) as caught:
                call("x" * 1000)
            assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_FOUND, "id")
        assert client.cancel_batch(ids[0]).state == BatchState.COMPLETED


def test_server_without_jobs(classifier: Path, folder: Path) -> None:
    with Service(classifier, "--no-rest") as service:
        error = refused(service, request(folder))
    assert (error.code, error.setting) == (ErrorCode.UNAVAILABLE, "jobs_db")


def test_job_of_any_size_is_run(service: Service, folder: Path) -> None:
    """A line for each file, a file for each line."""
    for number in range(200):
        write_lines(folder / "in" / f"{number:03}", [f"document {number}"])
    assert run(service, request(folder)).files_done == 200
