"""One port, any client: generated from the tutorial's two lines or from our contract, in every dialect of Thrift."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import thriftpy2
from thriftpy2.protocol import (
    TBinaryProtocolFactory,
    TCompactProtocolFactory,
    TCyBinaryProtocolFactory,
)
from thriftpy2.rpc import make_client
from thriftpy2.transport import (
    TBufferedTransportFactory,
    TCyBufferedTransportFactory,
    TCyFramedTransportFactory,
    TFramedTransportFactory,
)

from tests.server.transport.thrift_clients import DIALECTS, HOST, client
from tests.support.service import ROOT, program_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.transport.thrift_clients import Dialect
    from tests.support.service import Service

TUTORIAL_IDL = ROOT / "tests" / "clients" / "tutorial.thrift"
DOCUMENT = "wake me up at half past six, s'il te plaît ☀"


@pytest.fixture(scope="module")
def tutorial_predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module Predictor that the Thrift compiler generates from the tutorial's file."""
    folder = tmp_path_factory.mktemp("generated")
    thrift = program_path("thrift", "make test gets it; or apt-get install thrift-compiler")
    subprocess.run([thrift, "--gen", "py", "-out", str(folder), str(TUTORIAL_IDL)], check=True)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("tutorial.Predictor")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def expected(service: Service) -> dict[str, float]:
    with service.client() as predictor:
        return predictor.predict(DOCUMENT, None)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_clients_of_our_contract(service: Service, dialect: Dialect, expected: dict[str, float]) -> None:
    with client(service.port, dialect) as predictor:
        assert [predictor.predict(DOCUMENT, None) for _ in range(3)] == [expected] * 3
        assert predictor.status().ready


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_clients_of_the_tutorial(
    service: Service, tutorial_predictor: Any, dialect: Dialect, expected: dict[str, float]
) -> None:
    assert not hasattr(tutorial_predictor.Iface, "status"), "this is our contract, not the tutorial's"
    with client(service.port, dialect, service=tutorial_predictor) as predictor:
        assert [predictor.predict(DOCUMENT) for _ in range(3)] == [expected] * 3


@pytest.mark.parametrize(
    ("protocol", "transport"),
    [
        pytest.param(TCyBinaryProtocolFactory(), TCyBufferedTransportFactory(), id="its-default"),
        pytest.param(TCyBinaryProtocolFactory(), TCyFramedTransportFactory(), id="framed-binary-cython"),
        pytest.param(TBinaryProtocolFactory(), TBufferedTransportFactory(), id="unframed-binary"),
        pytest.param(TBinaryProtocolFactory(False, False), TBufferedTransportFactory(), id="unframed-binary-old"),
        pytest.param(TCompactProtocolFactory(), TBufferedTransportFactory(), id="unframed-compact"),
        pytest.param(TCompactProtocolFactory(), TFramedTransportFactory(), id="framed-compact"),
    ],
)
def test_thriftpy2_clients(service: Service, protocol: Any, transport: Any, expected: dict[str, float]) -> None:
    tutorial = thriftpy2.load(str(TUTORIAL_IDL), module_name="tutorial_thrift")
    ours = thriftpy2.load(str(ROOT / "predictor.thrift"), module_name="predictor_thrift")
    for contract, arguments in ((tutorial, (DOCUMENT,)), (ours, (DOCUMENT, None))):
        predictor = make_client(
            contract.Predictor, HOST, service.port, proto_factory=protocol, trans_factory=transport, timeout=30_000
        )
        with contextlib.closing(predictor):
            assert [predictor.predict(*arguments) for _ in range(3)] == [expected] * 3
