"""SavedModels for jobs: JSON values in and out, through real TensorFlow processes."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from server.errors import ErrorCode, ModelError, PredictionError
from server.tensorflow.predictor import InstanceError, SavedModelPredictor, open_predictor
from tests.support.service import child_pids, eventually, is_running

if TYPE_CHECKING:
    import contextlib
    from pathlib import Path

START_S = 120
CALL_S = 60


def processes() -> set[int]:
    """Child processes of this one."""
    return set(child_pids(os.getpid()))


def opened(url: str, name: str) -> contextlib.AbstractAsyncContextManager[SavedModelPredictor]:
    """A predictor with one of its signatures."""
    return open_predictor(url, timeout_s=START_S, signature_name=name)


async def test_half_plus_two(saved_models: Path) -> None:
    before = processes()
    async with open_predictor(str(saved_models / "half_plus_two"), timeout_s=START_S) as predictor:
        (child,) = processes() - before
        assert predictor.signature == "signature 'serving_default' (x: float[n] -> y: float[n])"
        assert await predictor.predict([1.0, 2, 5, {"x": 7}], timeout_s=CALL_S) == [2.5, 3.0, 4.5, 5.5]
        assert await predictor.predict([], timeout_s=CALL_S) == []
        assert await predictor.predict_columns([1.0, 2.0], timeout_s=CALL_S) == [2.5, 3.0]
        with pytest.raises(InstanceError, match="instance 1: input 'x': expected a number, got \"2\"") as caught:
            await predictor.predict([1.0, "2", None], timeout_s=CALL_S)
        assert caught.value.index == 1
        with pytest.raises(PredictionError) as late:
            await predictor.predict([1.0], timeout_s=0)
        assert late.value.code == ErrorCode.DEADLINE_EXCEEDED
    assert not is_running(child)


async def test_several_inputs_of_all_types(saved_model_server: str) -> None:
    instances: list[Any] = [
        {"flag": True, "ids": 2**62 + 1, "large": 2**64 - 1, "text": "ü \0 €", "weights": [0.1, -3]},
        {"weights": [1e-7, 16777216], "flag": False, "ids": -(2**63), "large": 0, "text": ""},
        {"flag": True, "ids": 1, "large": 1, "text": {"b64": "/wA="}, "weights": [0, 0]},
    ]
    async with opened(saved_model_server, "echo") as predictor:
        answers = await predictor.predict(instances, timeout_s=CALL_S)
        columns = {name: [instance[name] for instance in instances] for name in instances[0]}
        by_column = await predictor.predict_columns(columns, timeout_s=CALL_S)
        with pytest.raises(ValueError, match="input 'ids' is missing"):
            await predictor.predict_columns({"flag": [True]}, timeout_s=CALL_S)
    for instance, answer in zip(instances, answers, strict=True):
        text = instance["text"]
        content = base64.b64decode(text["b64"]) if isinstance(text, dict) else text.encode()
        assert answer == instance | {"text_bytes": {"b64": base64.b64encode(content).decode()}}
    assert by_column == {name: [answer[name] for answer in answers] for name in answers[0]}


async def test_every_instance_is_answered_as_if_it_were_alone(saved_model_server: str) -> None:
    """Of different shapes; of a model that takes one at a time; beside one on which the model fails."""
    async with opened(saved_model_server, "sums") as predictor:
        assert await predictor.predict([[1, 2], [], [3], [4, 5.5], [[6]][0]], timeout_s=CALL_S) == [3, 0, 3, 9.5, 6]
        found = await predictor.predict_each([[1], [[2]], [3, [4]], "x", [5]], timeout_s=CALL_S)
        assert [found[0], found[4]] == [1, 5]
        assert [str(error) for error in found[1:4]] == [
            "instance 1: input 'x' has shape [1, 1]; expected x: float[n, ?], n instances",
            "instance 2: input 'x': expected a number, got [4]",
            "instance 3: input 'x' has shape []; expected x: float[n, ?], n instances",
        ]
    async with opened(saved_model_server, "alone") as predictor:
        assert await predictor.predict([1, 2, 3], timeout_s=CALL_S) == [2, 3, 4]
    async with opened(saved_model_server, "fragile") as predictor:
        texts = [str(number) for number in range(50)]
        texts[17] = texts[40] = "many"
        found = await predictor.predict_each(texts, timeout_s=CALL_S)
        bad = {index: answer for index, answer in enumerate(found) if isinstance(answer, InstanceError)}
        assert sorted(bad) == [17, 40]
        assert "many" in str(bad[17])
        assert [answer for index, answer in enumerate(found) if index not in bad] == [
            float(text) for text in texts if text != "many"
        ]


async def test_outputs_that_json_cannot_carry(saved_model_server: str) -> None:
    async with opened(saved_model_server, "root") as predictor:
        found = await predictor.predict_each([4, -1, 2.25], timeout_s=CALL_S)
        assert [found[0], found[2]] == [2, 1.5]
        assert str(found[1]) == "instance 1: the model's output 'y' is NaN or infinite, which JSON cannot carry"
        with pytest.raises(ValueError, match="'y' is NaN"):
            await predictor.predict_columns([4, -1], timeout_s=CALL_S)
    async with opened(saved_model_server, "total") as predictor:
        with pytest.raises(PredictionError) as caught:
            await predictor.predict([1, 2, 3], timeout_s=CALL_S)
        assert "output 'y' has shape [1] for 3 instances, not a row for each" in caught.value.message


async def test_a_killed_process_loses_and_doubles_nothing(saved_models: Path) -> None:
    before = processes()
    rows, calls = 5000, 12

    async with open_predictor(str(saved_models / "half_plus_two"), timeout_s=START_S) as predictor:

        async def call(number: int) -> list[Any]:
            values = [float(number * rows + row) for row in range(rows)]
            return await predictor.predict(values, timeout_s=CALL_S)

        with capture_logs() as logs:
            (first,) = processes() - before
            waiting = [asyncio.create_task(call(number)) for number in range(calls)]
            await waiting[2]
            os.kill(first, signal.SIGKILL)
            answers = [await task for task in waiting]
            answers.append(await call(calls))  # the death came too late for those above, maybe
        (second,) = processes() - before
    assert [answer for part in answers for answer in part] == [row / 2 + 2 for row in range(rows * (calls + 1))]
    assert second != first
    died = [entry for entry in logs if "died" in entry["event"]]
    assert [entry["exit_code"] for entry in died] == [-signal.SIGKILL]
    assert not is_running(second)
    assert processes() <= before


async def test_a_process_that_cannot_start_again_is_an_error_in_time(saved_models: Path, tmp_path: Path) -> None:
    moving = tmp_path / "model"
    moving.symlink_to(saved_models / "half_plus_two")
    before = processes()
    async with open_predictor(str(moving), timeout_s=START_S) as predictor:
        moving.unlink()
        with capture_logs():
            os.kill((processes() - before).pop(), signal.SIGKILL)
            with pytest.raises(PredictionError) as caught:
                await predictor.predict([1], timeout_s=6)
    assert caught.value.code == ErrorCode.UNAVAILABLE
    assert "being started again" in caught.value.message
    assert processes() <= before


async def test_an_opening_that_nobody_waits_for_any_more_leaves_no_process(saved_models: Path) -> None:
    before = processes()

    async def wait_for_it() -> None:
        async with open_predictor(str(saved_models / "half_plus_two"), timeout_s=START_S):
            raise AssertionError("it was cancelled before it was open")

    opening = asyncio.create_task(wait_for_it())
    await asyncio.to_thread(eventually, lambda: processes() - before, "the process is started")
    started = time.monotonic()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert processes() <= before
    assert time.monotonic() - started < START_S / 4, "it was not waited for"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "the model has no signature 'serving_default'; its signatures: 'alone', 'classes', "),
        ("none", "the model has no signature 'none'"),
        ("scalar", "signature 'scalar' cannot be served: 'x' is a scalar"),
        ("complex_number", "'y' is of type complex64, which JSON cannot carry"),
    ],
)
async def test_signatures_that_cannot_be_served(saved_model_server: str, name: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        async with open_predictor(saved_model_server, timeout_s=START_S, signature_name=name):
            pass


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "none: No such file or directory"), (".", r"is no SavedModel: there is no saved_model.pb in it, nor in")],
)
async def test_folders_without_a_model(saved_models: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        async with open_predictor(str(saved_models / name), timeout_s=START_S):
            pass


@pytest.mark.parametrize("damage", [b"", b"no model"])
async def test_damaged_models(saved_models: Path, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(damage)
    with pytest.raises(ModelError, match=r"it could not be loaded: .*saved_model.pb: no SavedModel"):
        async with open_predictor(str(tmp_path), timeout_s=START_S):
            pass
