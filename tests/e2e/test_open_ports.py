"""Ports that others than this machine reach: nobody opens them without saying so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode, PredictionError

from tests.support.service import RestProxy, Service, run_server
from tests.support.tokens import TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPEN = "open to everybody who reaches the port"


@pytest.mark.parametrize(
    "flags", [["--host=0.0.0.0"], ["--rest-host=0.0.0.0"], ["--host=::"], ["--host=0.0.0.0", "--no-rest"]]
)
def test_they_stay_closed(flags: list[str]) -> None:
    done = run_server("any.pt", "--port=0", "--rest-port=0", *flags)
    assert done.returncode == 1
    assert "--token-file FILE" in done.stderr
    assert "--insecure" in done.stderr


def test_they_are_opened_by_a_word(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--host=0.0.0.0", env={"PREDICTOR_INSECURE": "true"}) as service:
        assert OPEN in service.log_text
        assert service.http("/predict?doc=x").status == 200
        assert service.http("/predict?doc=x", headers={"Host": "evil.example"}).status == 403


def test_with_tokens_they_may_be_open(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    """As in the image: the word is there, and a file of tokens too."""
    tokens = TokenFile(tmp_path / "tokens.toml")
    tokens.add("app")
    tokens.write()
    with Service(zoo("doc_model"), "--host=0.0.0.0", "--insecure", f"--token-file={tokens.path}") as service:
        assert OPEN not in service.log_text
        assert service.http("/predict?doc=x").status == 401


def test_a_proxy_by_itself(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--no-rest") as service:
        closed = RestProxy(service.port, flags=("--host=0.0.0.0",))
        with pytest.raises(AssertionError, match="the proxy has ended"), closed:
            pass
        with RestProxy(service.port, flags=("--host=0.0.0.0", "--insecure")) as proxy:
            assert OPEN in proxy.log_text
            assert proxy.http("/predict?doc=x").status == 200


def test_requests_of_an_address(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--requests-per-address=0.001") as service:
        assert service.http("/predict?doc=x").status == 200
        answer = service.http("/predict?doc=x")
        assert (answer.status, answer.json()["error"]["setting"]) == (429, "requests_per_address")
        with service.client() as predictor:
            assert predictor.predict("x", None)
            with pytest.raises(PredictionError) as caught:
                predictor.predict("x", None)
        assert (caught.value.code, caught.value.setting) == (ErrorCode.OVERLOADED, "requests_per_address")
        assert caught.value.retry_after_ms > 1000
