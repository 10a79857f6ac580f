"""Messages against Apache's own, slow codec, and structs as plain values."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictor import Predictor
from predictor.ttypes import (
    ErrorCode,
    ModelInfo,
    ModelLimits,
    ModelState,
    ModelStatus,
    PredictionError,
    RequestOptions,
    ServerStatus,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rest_proxy.backend.contract import PREDICT, PREDICT_BATCH, plain, schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def message(name: str, kind: int, seqid: int, struct: object) -> bytes:
    """A message as Apache's codec writes it."""
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer)
    protocol.writeMessageBegin(name, kind, seqid)
    struct.write(protocol)  # type: ignore[attr-defined]
    return buffer.getvalue()


@given(TEXT, TEXT, st.integers(1, 2**31 - 1))
def test_a_call_is_what_apache_writes(doc: str, model: str, seqid: int) -> None:
    options = RequestOptions(model, 5, None, "id")
    expected = message("predict", TMessageType.CALL, seqid, Predictor.predict_args(doc, options))
    assert PREDICT.encode(seqid, (doc, options)) == len(expected).to_bytes(4) + expected


@given(st.dictionaries(TEXT, st.floats(allow_nan=False)), st.integers(1, 2**31 - 1))
def test_a_result_is_what_apache_wrote(scores: dict[str, float], seqid: int) -> None:
    reply = message("predict", TMessageType.REPLY, seqid, Predictor.predict_result(scores))
    assert PREDICT.decode(reply, seqid) == scores


def test_a_declared_error_is_raised() -> None:
    error = PredictionError(ErrorCode.OVERLOADED, "full", 250, "r-1")
    with pytest.raises(PredictionError) as raised:
        PREDICT.decode(message("predict", TMessageType.REPLY, 1, Predictor.predict_result(None, error)), 1)
    assert (raised.value.code, raised.value.retry_after_ms) == (ErrorCode.OVERLOADED, 250)


def test_an_application_exception_is_raised() -> None:
    exception = TApplicationException(TApplicationException.UNKNOWN_METHOD, "no predict here")
    with pytest.raises(TApplicationException, match="no predict here"):
        PREDICT.decode(message("predict", TMessageType.EXCEPTION, 1, exception), 1)


def test_an_empty_result_is_an_error() -> None:
    with pytest.raises(TApplicationException, match="predict gave no result"):
        PREDICT.decode(message("predict", TMessageType.REPLY, 1, Predictor.predict_result()), 1)


def test_an_answer_to_another_call_is_refused() -> None:
    reply = message("predict", TMessageType.REPLY, 7, Predictor.predict_result({}))
    with pytest.raises(ValueError, match="the answer to another call than predict 8"):
        PREDICT.decode(reply, 8)
    with pytest.raises(ValueError, match="for 'predict' instead of the answer to predict_batch"):
        PREDICT_BATCH.decode(reply, 7)


@given(st.binary(max_size=64), st.integers(0, 40))
def test_a_broken_answer_raises_and_is_never_a_result(junk: bytes, kept: int) -> None:
    whole = message("predict", TMessageType.REPLY, 1, Predictor.predict_result({"label": 1.0}))
    broken = whole[: min(kept, len(whole) - 1)]
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the codec calls it
        PREDICT.decode(broken, 1)
    with pytest.raises(Exception):  # noqa: B017, PT011
        PREDICT.decode(junk, 1)


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        PREDICT.encode(1, ("\ud800", None))


def test_structs_as_plain_values_fit_their_schema() -> None:
    limits = ModelLimits(1, 2, 3, 4, 5, 6)
    info = ModelInfo("n", "v", "k", ModelState.FAILED, "l", ["predict"], [], limits, False, {"a": "b"}, "why")
    value = plain(info)
    assert value["state"] == "FAILED"
    assert value["limits"]["batch_tokens"] == 5
    assert value["details"] == {"a": "b"}
    jsonschema.validate(value, schema(ModelInfo))
    status = ServerStatus("1", 2.5, True, [], 3, [ModelStatus("m", ModelState.READY, *range(10))])
    assert plain(status)["models"][0]["state"] == "READY"
    jsonschema.validate(plain(status), schema(ServerStatus))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "methods": [1]}, schema(ModelInfo))
