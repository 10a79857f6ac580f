"""Starting the server: what is refused, and how it says so; where settings come from."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.service import HOST, Service, eventually, free_port, http_request, is_listening, run_server
from tests.support.zoo import save_broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess


def refusal(*arguments: object, exit_code: int = 1) -> str:
    """The error line of a command line that is refused."""
    done = run_server(*arguments, "--port=0", "--rest-port=0")
    assert done.returncode == exit_code, done.stderr
    return error_line(done)


def error_line(done: CompletedProcess[str]) -> str:
    """The one line on stderr that is meant for people; nothing on stdout, no traceback outside of the log."""
    assert done.stdout == ""
    for_people = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert not any("Traceback" in line for line in for_people), done.stderr
    (line,) = (line for line in for_people if "error: " in line)
    return line


# --------------------------------------------------------------------------------------------------------- model files


def test_model_file_that_does_not_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pt"
    assert refusal(missing) == f"error: {missing}: no such file or folder"


def test_model_file_that_is_a_directory(tmp_path: Path) -> None:
    known = "no kind of model that this server knows is in this folder"
    assert refusal(tmp_path).startswith(f"error: {tmp_path}: {known}; name the folder that save_pretrained wrote")


@pytest.mark.parametrize("name", ["empty", "random_bytes", "pickle", "state_dict", "truncated"])
def test_model_file_that_is_no_torchscript(tmp_path: Path, name: str) -> None:
    path = save_broken(tmp_path)[name]
    line = refusal(path)
    assert line.startswith(f"error: {path}: ")
    # one of torch.save is told apart, and what would make it servable
    assert ("torch.jit.script" if name in ("pickle", "state_dict") else "TorchScript") in line


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("foreign_input", "pixels"),
        ("doc_model_0_2_dense", "dense_feat"),
        ("doc_model_dense", "dense_feat"),
        ("pairwise", "neither `texts: List[str]` nor `tokens: List[List[str]]`"),
    ],
)
def test_model_that_needs_an_input_that_no_request_has(zoo: Callable[[str], Path], name: str, missing: str) -> None:
    line = refusal(zoo(name))
    assert line.startswith(f"error: {zoo(name)}: ")
    assert missing in line


def test_second_model_that_cannot_be_loaded(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    missing = tmp_path / "missing.pt"
    assert refusal(zoo("doc_model"), f"--model=other={missing}") == f"error: {missing}: no such file or folder"


def test_two_models_of_one_name(zoo: Callable[[str], Path]) -> None:
    line = refusal(zoo("doc_model"), f"--model=doc_model={zoo('poison')}")
    assert line == f"error: two models are named 'doc_model'; give one another name: NAME={zoo('poison')}"


def test_a_device_for_no_model(zoo: Callable[[str], Path]) -> None:
    line = refusal(zoo("doc_model"), "--model-device=docmodel=cpu")
    assert line == "error: no model is named 'docmodel' (setting model_device)"


# --------------------------------------------------------------------------------------------------------------- flags


def test_without_arguments_it_prints_its_usage() -> None:
    done = run_server()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m server")
    assert done.stderr.endswith("error: no model is given\n")


def test_help_goes_to_stdout() -> None:
    done = run_server("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "PREDICTOR_QUEUE_ITEMS" in done.stdout


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--port", "70000"),
        ("--port", "-1"),
        ("--rest-port", "http"),
        ("--queue-items", "0"),
        ("--timeout-ms", "soon"),
        ("--bulk-share", "1"),
        ("--bulk-share", "nan"),
        ("--log-level", "loud"),
        ("--nesting", "65"),
    ],
)
def test_wrong_value_of_a_flag(flag: str, value: str) -> None:
    done = run_server("any.pt", f"{flag}={value}")
    assert done.returncode == 2
    variable = "PREDICTOR_" + flag[2:].replace("-", "_").upper()
    assert f"error: argument {flag} ({variable}): " in error_line(done)


def test_wrong_value_in_the_environment() -> None:
    done = run_server("any.pt", env={"PREDICTOR_QUEUE_ITEMS": "many"})
    assert done.returncode == 2
    assert "argument --queue-items (PREDICTOR_QUEUE_ITEMS): " in error_line(done)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"queue_items = 0", "argument --queue-items (PREDICTOR_QUEUE_ITEMS): "),
        (b"queue_item = 1", "unknown setting queue_item; did you mean queue_items?"),
        (b"queue_items = ", "argument --config: "),
        (b"model = '\xff'", "argument --config: "),
    ],
)
def test_wrong_config_file(tmp_path: Path, content: bytes, complaint: str) -> None:
    config = tmp_path / "server.toml"
    config.write_bytes(content)
    done = run_server("any.pt", f"--config={config}")
    assert done.returncode == 2
    assert complaint in error_line(done)


def test_config_file_that_does_not_exist(tmp_path: Path) -> None:
    done = run_server("any.pt", f"--config={tmp_path / 'missing.toml'}")
    assert done.returncode == 2
    assert f"argument --config: {tmp_path / 'missing.toml'}: " in error_line(done)


def test_command_line_before_environment_before_config_file(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'model = ["from-file={zoo("doc_model")}"]\nhttp = "off"\nqueue_items = 11\nbatch_items = 12\nmax_tokens = 13\n'
    )
    environment = {"PREDICTOR_CONFIG": str(config), "PREDICTOR_BATCH_ITEMS": "22", "PREDICTOR_MAX_TOKENS": "23"}
    with Service("--max-tokens=33", env=environment) as service, service.client() as predictor:
        (info,) = predictor.list_models()
        assert service.rest_port == 0
    limits = info.limits
    assert (info.name, limits.queue_items, limits.batch_items, limits.max_tokens) == ("from-file", 11, 22, 33)


def test_models_in_the_environment(zoo: Callable[[str], Path]) -> None:
    environment = {"PREDICTOR_MODEL": f"a={zoo('doc_model')},b={zoo('poison')}"}
    with Service("--no-rest", env=environment) as service, service.client() as predictor:
        assert [info.name for info in predictor.list_models()] == ["a", "b"]


# --------------------------------------------------------------------------------------------------------------- ports


def test_flags_of_pytexts_server(zoo: Callable[[str], Path]) -> None:
    port, rest_port = free_port(), free_port()
    with Service(zoo("doc_model"), "--port_thrift", port, f"--port_rest={rest_port}") as service:
        assert (service.port, service.rest_port) == (port, rest_port)
        assert http_request(rest_port, "/?doc=hello").status == 200


def test_the_proxy_asks_for_no_more_time_than_the_server_gives(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--max-timeout-ms=5000") as service:
        assert service.http("/?doc=hello").status == 200
        assert service.http("/predict?doc=hello&timeout_ms=5000").status == 200
        refused = service.http("/predict?doc=hello&timeout_ms=5001")
    assert refused.status == 400
    message = "timeout_ms: must lie between 1 and 5000, got 5001 (setting max_timeout_ms)"
    assert refused.json()["error"]["message"] == message


@pytest.mark.parametrize("http", ["inside", "proxy"])
def test_http_has_the_settings_that_the_server_was_given(zoo: Callable[[str], Path], tmp_path: Path, http: str) -> None:
    """From the command line, the environment and the file; a proxy's also once it has died and is started again."""
    config = tmp_path / "server.toml"
    config.write_text("rest_max_body_bytes = 3000\n")
    flags = ("--rest-max-docs=2", "--rest-access-log", f"--config={config}", f"--http={http}")
    with Service(zoo("doc_model"), *flags, env={"PREDICTOR_REST_MAX_LINE_BYTES": "2000"}) as service:
        for _ in range(2):
            described = service.http("/openapi.json").json()["info"]["description"]
            assert "3000 bytes body, 2000 bytes URL, 2 documents" in described
            if http == "proxy":
                (proxy,) = service.children()
                os.kill(proxy, signal.SIGKILL)
                eventually(lambda gone=proxy: service.children() not in ([], [gone]), "another is started")
            else:
                assert service.children() == []
            eventually(lambda: is_listening(service.rest_port), "it listens")
        requests = [entry for entry in service.log if entry.get("event") == "request"]
    assert [entry["path"] for entry in requests] == ["/openapi.json"] * 2


def test_the_last_line_at_the_start_is_for_people_to_click_on(zoo: Callable[[str], Path]) -> None:
    """Nothing comes after it: the proxy does not say what its server has said."""
    with Service(zoo("doc_model")) as service:
        eventually(lambda: [line for line in service.log if line.get("event") == "ready"], "the line is written")
        last = service.log[-1]
        assert last["event"] == "ready"
        assert last["http"] == f"http://{HOST}:{service.rest_port}/"
        assert last["thrift"] == f"{HOST}:{service.port}"
        eventually(lambda: service.http("/readyz").status == 200, "the proxy knows it")
        seen = [line for line in service.log if "ready" in line.get("event", "")]
        assert {line["level"] for line in seen} == {"info"}
        assert [line["event"] for line in seen] == ["model ready", "ready"]
        assert service.log[-1] == last


def test_norest(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--norest") as service:
        assert service.rest_port == 0
        assert service.children() == []
        with service.client() as predictor:
            assert predictor.predict("hello", None)


@pytest.mark.parametrize("flag", ["--port", "--rest-port", "--metrics-port"])
def test_port_in_use(zoo: Callable[[str], Path], flag: str) -> None:
    with socket.create_server((HOST, 0)) as holder:
        taken = holder.getsockname()[1]
        line = error_line(run_server(zoo("doc_model"), "--port=0", "--rest-port=0", f"{flag}={taken}"))
    assert re.search(rf"\b{taken}\b", line), line
    assert f"setting {flag[2:].replace('-', '_')}" in line


def test_host_that_is_not_ours(zoo: Callable[[str], Path]) -> None:
    line = refusal(zoo("doc_model"), "--host=192.0.2.1", "--insecure")  # RFC 5737: an address of documentation
    assert "192.0.2.1" in line
