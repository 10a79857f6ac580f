"""The load generator against real servers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.endpoints import AnswerError, BatchCount, free_port, mosec_batches, scores, status_batches
from benchmarks.load import COMPILE, Load, LoadError, LoadResult, build_loadgen, run_load
from benchmarks.process import ROOT, cpu_seconds
from tests.benchmarks.responder import DOCUMENTS, SCORES, TWISTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Responder = Callable[[str], tuple[int, int]]


def nothing() -> None:
    """For who does not care when the measured time begins."""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadResult]:
    """Sends documents and gives the result; no warm-up, so that every answer counts.

    `least`: for longer where the machine was too busy for more than so many good answers.
    """

    def send(port: int, documents: list[str], least: int = 0, **options: object) -> LoadResult:
        path = tmp_path / "documents.txt"
        path.write_text("\n".join(documents) + "\n", encoding="utf-8")
        settings = {"protocol": "thrift", "seconds": 0.3, "warmup": 0, "connections": 4, **options}
        result = run_load(Load(port=port, documents=path, **settings), nothing, nothing)  # type: ignore[arg-type]
        if result.requests <= least:
            settings["seconds"] = 5
            result = run_load(Load(port=port, documents=path, **settings), nothing, nothing)  # type: ignore[arg-type]
        return result

    return send


@pytest.mark.parametrize("protocol", ["thrift", "thrift-framed"])
def test_counts_every_answer_of_a_thrift_server_by_its_kind(responder: Responder, load, protocol: str) -> None:
    port, _ = responder(protocol)
    result = load(port, ["ok", TWISTED, "overloaded", "invalid", "unknown"], least=50, protocol=protocol)
    assert result.lost == result.unanswered == 0
    # Every connection goes through all five documents again and again: two good, one overloaded, two errors.
    assert result.requests > 50
    assert abs(result.requests - 2 * result.overloaded) <= 2 * 4
    assert abs(result.requests - result.errors) <= 2 * 4
    assert result.rps == pytest.approx(result.requests / result.seconds, rel=1e-3)


def test_counts_agree_with_the_servers_own(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    result = load(port, ["ok"], connections=8)
    counted = status_batches(port)
    assert result.requests <= counted.documents <= result.requests + 8  # those under way at the end
    assert counted.batches == counted.documents // 2


@pytest.mark.parametrize("protocol", ["http-get", "http-json"])
def test_sends_every_document_unharmed_over_http(responder: Responder, load, protocol: str) -> None:
    port, _ = responder("http")
    result = load(port, [*DOCUMENTS, "chunked"], least=50, protocol=protocol)
    assert result.requests > 50
    assert result.errors == result.overloaded == 0


def test_sends_a_list_to_methods_that_take_one_and_json_in_any_field(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    result = load(port, ["ok", TWISTED], least=50, method="predict_batch")
    assert (result.requests > 50, result.errors) == (True, 0)
    port, _ = responder("http")
    result = load(port, ["ok", TWISTED], least=50, protocol="http-json", path="/?field=text", field="text")
    assert (result.requests > 50, result.errors) == (True, 0)


def test_counts_http_429_as_overloaded_and_500_as_error(responder: Responder, load) -> None:
    port, _ = responder("http")
    result = load(port, ["ok", "overloaded", "unknown"], least=20, protocol="http-json", connections=1)
    assert result.requests > 20
    assert abs(result.requests - result.overloaded) <= 1
    assert abs(result.requests - result.errors) <= 1


def test_a_reply_in_another_protocol_is_no_answer(responder: Responder, load) -> None:
    port, _ = responder("http")
    with pytest.raises(LoadError, match=r"not a reply to the request|closed by the server"):
        load(port, ["ok"], protocol="thrift")


def test_reports_one_lost_connection_and_goes_on_with_the_others(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    result = load(port, ["ok", "close once"], connections=3)
    assert result.lost == result.errors == 1
    assert result.requests > 50


def test_fails_when_the_server_closes_every_connection(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    with pytest.raises(LoadError, match=r'connection . lost: closed by the server.*"lost": 2'):
        load(port, ["ok", "close"], connections=2)


def test_fails_when_nobody_listens(load) -> None:
    with pytest.raises(LoadError, match=r"cannot connect to 127.0.0.1 port .*: Connection refused"):
        load(free_port(), ["ok"])


def test_counts_what_is_never_answered(responder: Responder, tmp_path: Path) -> None:
    port, _ = responder("thrift")
    (tmp_path / "documents.txt").write_text("wait 60000\n")
    options = ["--port", str(port), "--documents", str(tmp_path / "documents.txt"), "--connections", "2"]
    times = ["--seconds", "0.1", "--warmup", "0", "--drain", "0.1"]
    done = subprocess.run([build_loadgen(), *options, *times], capture_output=True, text=True, timeout=50)
    assert '"requests": 0, "errors": 2, "overloaded": 0, "lost": 0, "unanswered": 2' in done.stdout


def test_percentiles_show_a_known_delay(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    result = load(port, ["wait 5"] * 9 + ["wait 60"], seconds=1, connections=1)
    assert 5_000 < result.p50_us < 25_000
    assert 60_000 < result.p99_us <= result.max_us


def test_open_loop_keeps_its_rate(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    assert load(port, ["ok"], seconds=1, rate=200, connections=8).requests == pytest.approx(200, rel=0.1)


def test_open_loop_counts_the_wait_for_a_stalled_server(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    closed = load(port, ["wait 50"], seconds=1, connections=1)
    late = load(port, ["wait 50"], seconds=1, connections=1, rate=100)  # five times what the server can do
    assert closed.p50_us < 150_000
    assert late.max_us > 500_000


def test_calls_back_around_the_measured_time(responder: Responder, tmp_path: Path) -> None:
    port, _ = responder("thrift")
    (tmp_path / "documents.txt").write_text("ok\n")
    seen: list[int] = []
    read = lambda: seen.append(status_batches(port).documents)  # noqa: E731
    load = Load(port, "thrift", tmp_path / "documents.txt", connections=2, seconds=1, warmup=0.3)
    result = run_load(load, read, read)
    assert seen[0] > 20  # the warm-up's
    assert seen[1] - seen[0] == pytest.approx(result.requests, rel=0.15)


def test_polls_for_answers_when_asked_to(responder: Responder, load) -> None:
    port, _ = responder("thrift")
    sleeping = load(port, ["wait 50"], seconds=0.5, connections=1)
    polling = load(port, ["wait 50"], seconds=0.5, connections=1, spin_us=20_000)
    # on a busy machine a part of the 20 ms belongs to others
    assert sleeping.cpu_us_per_request < 5_000 < 6_000 < polling.cpu_us_per_request


def test_costs_no_more_than_the_least_that_a_server_does(responder: Responder, load) -> None:
    """So that with any real server, the load generator is not what is measured."""
    port, pid = responder("fast")
    began = cpu_seconds(pid)
    result = load(port, ["ok"], seconds=1.5, connections=64)
    server_cpu_us = (cpu_seconds(pid) - began) / result.requests * 1e6
    assert result.rps > 100_000 or result.cpu_us_per_request < max(6.5, 1.25 * server_cpu_us)


def test_quantiles_are_within_one_percent(tmp_path: Path) -> None:
    program = tmp_path / "histogram_check"
    source = ROOT / "tests" / "benchmarks" / "histogram_check.cc"
    subprocess.run([*COMPILE, "-o", program, source], check=True)
    worst = float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)
    assert 0 < worst < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "0"], "--port: 0 is not a number from 1 to 65535"),
        (["--port", "80", "--connections", "1e6"], "--connections: 1e6 is not a number from 1 to 10000"),
        (["--port", "80", "--seconds", "nan"], "--seconds: nan is not a number"),
        (["--port", "80", "--protocol", "smtp"], "--protocol: smtp is not one of those"),
        (["--port", "80"], "--documents is missing"),
        (["--port", "80", "--documents", "/none"], "--documents: cannot read /none"),
        (["--port", "80", "--documents", "/dev/null"], "--documents: /dev/null is empty"),
        (["more"], "more: not an option"),
    ],
)
def test_refuses_wrong_options(options: list[str], message: str) -> None:
    done = subprocess.run([build_loadgen(), *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(("kind", "protocol"), [("thrift", "thrift"), ("http", "http-json")])
def test_asks_for_scores(responder: Responder, kind: str, protocol: str) -> None:
    assert scores(protocol, free_port(), "/", "ok") is None  # nobody is there
    port, _ = responder(kind)
    assert scores(protocol, port, "/", "ok") == SCORES
    assert scores(protocol, port, "/", "loading") is None
    with pytest.raises(AnswerError, match=r"OVERLOADED: as asked|HTTP 429"):
        scores(protocol, port, "/", "overloaded")


def test_reads_mosecs_batch_count(responder: Responder) -> None:
    port, _ = responder("http")
    assert mosec_batches(port) == BatchCount(documents=160, batches=16)
