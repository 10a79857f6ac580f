"""Models of a hub on the command line, by load_model and in a job: fetched, then answered as by their folders."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode, PredictionError, RequestOptions

from tests.e2e import folders
from tests.server.batch.jobs import read_lines, write_lines
from tests.server.batch.test_command_line import command
from tests.support.folders import forms
from tests.support.hub import LARGE, STALLED, environment, local_hub
from tests.support.service import ROOT, Service, eventually, free_port, is_listening, run_server
from tests.support.service import environment as whole_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hub import LocalHub, Served
    from tests.support.shared import SharedFiles

TEXTS = ["the harbour is small", "a lamp", "boats lie in the harbour"]
WEIGHTS = "model.safetensors"
HALF = 250_000  # bytes


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with local_hub() as served:
        yield served


@pytest.fixture
def served(hub: LocalHub, shared_files: SharedFiles, tmp_path: Path) -> Served:
    """A sentence encoder."""
    made = folders.made(shared_files, ["encoder"])["encoder"]
    return hub.add("owner/name", shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def env(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    return environment(hub, tmp_path / "cache", HF_HUB_OFFLINE="")


def partials(tmp_path: Path) -> list[Path]:
    """Weights that are on their way: half of them are there."""

    def size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:  # it is whole, and has its name, since the folder was looked at
            return 0

    return [path for path in tmp_path.glob("cache/*/blobs/*.partial") if size(path) > HALF]


def test_ready_once_it_is_there(served: Served, env: dict[str, str], tmp_path: Path) -> None:
    """And not before; its vectors are then those of the folder."""
    served.faults[WEIGHTS] = [STALLED]
    port, rest_port = free_port(), free_port()
    flags = (f"--port={port}", f"--rest-port={rest_port}", f"--model=folder={served.folder}")
    with Service("hub=hf://owner/name", *flags, env=env, wait_ready=False) as service:
        service.port, service.rest_port = port, rest_port
        eventually(lambda: partials(tmp_path), "the weights come")
        eventually(lambda: is_listening(rest_port), "the proxy listens")
        reasons = service.http("/readyz").json()["reasons"]
        assert re.fullmatch(
            rf"127.0.0.1:{port}: model hub is loading \(0\.\d of 0\.\d MB fetched\); model folder is loading", *reasons
        )
        with service.client() as predictor, pytest.raises(PredictionError) as caught:
            predictor.embed("a lamp", RequestOptions(model="hub"), None)
        assert caught.value.code == ErrorCode.UNAVAILABLE
        served.go_on.set()
        service.wait_ready()
        with service.client() as predictor:
            info, _ = predictor.list_models()
            answers = [predictor.embed_batch(TEXTS, RequestOptions(model=name), None) for name in ("hub", "folder")]
        assert (info.name, info.version, info.location) == ("hub", served.commit, "hf://owner/name")
        assert answers[0] == answers[1]


def test_a_signal_ends_a_download_and_the_next_start_goes_on(
    served: Served, hub: LocalHub, env: dict[str, str], tmp_path: Path
) -> None:
    served.faults[WEIGHTS] = [STALLED]
    with Service("hf://owner/name,precision=int8", "--no-rest", env=env, wait_ready=False) as service:
        eventually(lambda: partials(tmp_path), "the weights come")
        service.stop()
    (partial,) = partials(tmp_path)
    begin = partial.stat().st_size
    hub.asked.clear()
    with Service("hf://owner/name,precision=int8", "--no-rest", env=env) as service, service.client() as predictor:
        (info,) = predictor.list_models()
        assert (info.name, info.details["precision"]) == ("name", "int8")
        assert predictor.embed(TEXTS[0], None, None)
    assert [line.partition(" ")[2].rpartition("/")[2] for line in hub.asked_for("")] == [f"{WEIGHTS} bytes={begin}-"]
    with Service("hf://owner/name", "--no-rest", env=env | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": ""}) as service:
        assert "the hub cannot be asked: a model comes from the cache" in service.log_text
        assert service.status().ready


def test_a_model_that_is_not_served(served: Served, hub: LocalHub, env: dict[str, str]) -> None:
    config = forms.read_json(served.folder / "config.json")
    forms.write_json(served.folder / "config.json", config | {"model_type": "xlnet"})
    for location, reason in (
        ("hf://owner/name", "error: hf://owner/name: its architecture is 'xlnet' (model_type in config.json)"),
        ("hf://owner/none", f"error: hf://owner/none: {hub.address} has no model owner/none"),
        ("hf://owner/name@v9", "error: hf://owner/name@v9: owner/name has no revision v9"),
        (
            "owner/name",
            "error: owner/name: no such folder. Is it a name on the Hugging Face hub? Then it is hf://owner/",
        ),
    ):
        done = run_server(location, "--port=0", "--no-rest", env=env)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith(reason)
    assert [line for line in hub.asked if line.endswith(LARGE)] == []


def test_load_model(served: Served, env: dict[str, str], shared_files: SharedFiles, tmp_path: Path) -> None:
    """What the setting allows; a second call takes the newer commit; a drain ends a download that is not over."""
    reranker = folders.made(shared_files, ["reranker"])["reranker"]
    flags = (f"--model={reranker}", "--no-rest", "--hub-models=owner/*", f"--hub-cache={tmp_path / 'cache'}")
    with Service(*flags, env=env | {"HF_HUB_CACHE": "/nowhere"}) as service, service.client() as predictor:
        with pytest.raises(PredictionError, match="stranger/name may not be loaded") as caught:
            predictor.load_model("vectors", "hf://stranger/name")
        assert caught.value.setting == "hub_models"
        assert predictor.load_model("vectors", "hf://owner/name").version == served.commit
        served.commit = "d" * 40
        assert predictor.load_model("vectors", "hf://owner/name").version == "d" * 40
        assert predictor.embed(TEXTS[0], RequestOptions(model="vectors"), None)
        shutil.rmtree(tmp_path / "cache")
        served.faults[WEIGHTS] = [STALLED]
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(predictor.load_model, "vectors", "hf://owner/name@main")
            eventually(lambda: partials(tmp_path), "the weights come")
            service.signal(signal.SIGTERM)
            eventually(lambda: "draining" in service.log_text, "it drains")
            served.go_on.set()
            with pytest.raises(PredictionError, match="the server is draining") as caught:
                loading.result(60)
        assert caught.value.code == ErrorCode.UNAVAILABLE
        assert service.wait() == 0


def test_a_job(served: Served, env: dict[str, str], tmp_path: Path) -> None:
    write_lines(tmp_path / "in" / "a", TEXTS)
    done = subprocess.run(
        command(tmp_path, "hf://owner/name", "--method=embed"),
        cwd=ROOT,
        env=whole_environment(env),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with Service(served.folder, "--no-rest") as service, service.client() as predictor:
        wanted = predictor.embed_batch(TEXTS, None, None)
    assert [line["embedding"] for line in read_lines(tmp_path / "out" / "a")] == [pytest.approx(row) for row in wanted]


def test_ctrl_c_ends_a_job_s_download(served: Served, env: dict[str, str], tmp_path: Path) -> None:
    served.faults[WEIGHTS] = [STALLED]
    write_lines(tmp_path / "in" / "a", TEXTS)
    arguments = command(tmp_path, "hf://owner/name", "--method=embed")
    with subprocess.Popen(arguments, cwd=ROOT, env=whole_environment(env), stderr=subprocess.PIPE, text=True) as job:
        eventually(lambda: partials(tmp_path), "the weights come")
        job.send_signal(signal.SIGINT)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 130, said
    assert partials(tmp_path)
