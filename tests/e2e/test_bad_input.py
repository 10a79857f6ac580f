"""Input that is wrong gets a clear error, costs the server no memory, and leaves it as it was."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, GenerationOptions, PredictionError, RequestOptions
from thrift.Thrift import TApplicationException

from tests.server.transport.thrift_clients import BY_NAME
from tests.support.service import HOST, Service, connected, curl, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAMED, UNFRAMED = BY_NAME["framed-binary"], BY_NAME["unframed-binary"]
BOTH = pytest.mark.parametrize("dialect", [FRAMED, UNFRAMED], ids=lambda dialect: dialect.name)
MEBIBYTE = 1 << 20
# What the process may grow by for other reasons: allocators keep what they once had.
GROWTH_BYTES = 48 * MEBIBYTE
HUGE = 2**31 - 1

STOP = b"\x00"
STRING, I32, LIST = 11, 8, 15


def message(method: str, *fields: bytes) -> bytes:
    """A call in the strict binary protocol with sequence id 1 (thrift-binary-protocol.md)."""
    name = method.encode()
    return struct.pack(">II", 0x80010001, len(name)) + name + struct.pack(">i", 1) + b"".join(fields) + STOP


def field(kind: int, number: int, value: bytes) -> bytes:
    """A field of a struct."""
    return struct.pack(">bh", kind, number) + value


def string(size: int, content: bytes) -> bytes:
    """A string that claims to have `size` bytes."""
    return struct.pack(">i", size) + content


@pytest.fixture(autouse=True)
def unharmed(service: Service) -> Iterator[None]:
    """After every test the next good request gets its scores, over Thrift and HTTP, and memory has not grown."""
    with service.client() as predictor:
        expected = predictor.predict("set an alarm", None)
    before = service.rss_bytes()
    yield
    with service.client() as predictor:
        assert predictor.predict("set an alarm", None) == pytest.approx(expected, abs=1e-5)
    assert service.http("/?doc=set+an+alarm").status == 200
    assert service.rss_bytes() - before < GROWTH_BYTES


def refusal(service: Service, content: bytes, dialect: Any = FRAMED) -> Exception:
    """The error that answers a message."""
    with service.client(dialect) as predictor:
        transport = predictor._oprot.trans
        transport.write(content)
        transport.flush()
        with pytest.raises((PredictionError, TApplicationException)) as caught:
            predictor.recv_predict()
        return caught.value


def end_of_connection(service: Service, content: bytes) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    with connected(service.port) as connection:
        connection.sendall(content)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    return received


def logged(service: Service, text: str) -> list[dict[str, Any]]:
    """The log's entries whose event has this text."""
    return [entry for entry in service.log if text in entry.get("event", "")]


# ---------------------------------------------------------------------------------------------------- no Thrift at all


def test_random_bytes(service: Service) -> None:
    for seed in range(50):
        assert end_of_connection(service, random.Random(seed).randbytes(4096)) == b""


def test_http_on_the_thrift_port(service: Service) -> None:
    request = b"GET /?doc=set+an+alarm HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert end_of_connection(service, request) == b""
    assert logged(service, "HTTP request on the Thrift port")[-1]["level"] == "warning"


def test_thrift_on_the_http_port(service: Service) -> None:
    with connected(service.rest_port) as connection:
        connection.sendall(message("predict", field(STRING, 1, string(5, b"hello"))))
        assert connection.recv(65536).startswith(b"HTTP/1.0 400 Bad Request")


# ------------------------------------------------------------------------------------------------------ claims of size


def test_frame_that_claims_2_gigabytes(service: Service) -> None:
    assert end_of_connection(service, struct.pack(">i", HUGE) + random.Random(1).randbytes(64)) == b""
    claimed = struct.pack(">i", HUGE) + message("predict", field(STRING, 1, string(5, b"hello")))
    with service.client(UNFRAMED) as predictor:
        transport = predictor._oprot.trans
        transport.write(claimed)
        transport.flush()
        transport.readAll(4)  # the length of the answer's frame
        with pytest.raises(PredictionError) as caught:
            predictor.recv_predict()
    assert caught.value.code == ErrorCode.TOO_LARGE
    assert "message_bytes" in caught.value.message


@BOTH
def test_string_longer_than_its_message(service: Service, dialect: Any) -> None:
    content = message("predict", field(STRING, 1, string(HUGE, b"hello")))
    error = refusal(service, content, dialect)
    assert error.code in (ErrorCode.TOO_LARGE, ErrorCode.INVALID_ARGUMENT)
    assert error.field == "doc"


def test_string_a_little_longer_than_its_frame(service: Service) -> None:
    error = refusal(service, message("predict", field(STRING, 1, string(100, b"hello"))))
    assert error.code == ErrorCode.INVALID_ARGUMENT


@BOTH
@pytest.mark.parametrize("size", [-1, -(2**31), HUGE])
def test_container_of_an_impossible_size(service: Service, dialect: Any, size: int) -> None:
    content = message("predict_batch", field(LIST, 1, struct.pack(">bi", STRING, size)))
    error = refusal(service, content, dialect)
    assert error.code == (ErrorCode.TOO_LARGE if size > 0 else ErrorCode.INVALID_ARGUMENT)
    assert error.field == "docs"


@BOTH
def test_negative_string_length(service: Service, dialect: Any) -> None:
    error = refusal(service, message("predict", field(STRING, 1, string(-1, b""))), dialect)
    assert error.code == ErrorCode.INVALID_ARGUMENT


def test_memory_does_not_grow_by_what_is_claimed(service: Service) -> None:
    """A hundred connections that each announce 16 MB, the largest message allowed, and send a kilobyte of it."""
    before = service.rss_bytes()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(service.port)) for _ in range(100)]
        for connection in connections:
            size = 16 * MEBIBYTE - 100
            head = message("predict", field(STRING, 1, string(size - 100, b"")))[:-1]
            connection.sendall(struct.pack(">i", size) + head + bytes(1024))
        eventually(lambda: service.status().connections > 100, "all are connected")
        assert service.rss_bytes() - before < GROWTH_BYTES


def test_memory_does_not_grow_by_what_those_sent_who_are_gone(service: Service) -> None:
    """One after the other sends 15 MiB of a message but for its end, and vanishes."""
    before = service.rss_bytes()
    size = 15 * MEBIBYTE
    head = message("predict", field(STRING, 1, string(size - 100, b"")))[:-1]
    for _ in range(20):
        with connected(service.port) as connection:
            connection.sendall(struct.pack(">i", size) + head + bytes(size - 1000))
    eventually(lambda: service.status().connections == 1, "all are gone")
    assert service.rss_bytes() - before < GROWTH_BYTES


# ------------------------------------------------------------------------------------------------- messages of nonsense


@BOTH
def test_unknown_method(service: Service, dialect: Any) -> None:
    error = refusal(service, message("divine", field(STRING, 1, string(5, b"hello"))), dialect)
    assert isinstance(error, TApplicationException)
    assert error.type == TApplicationException.UNKNOWN_METHOD
    assert "divine" in error.message


@BOTH
def test_wrong_argument_type(service: Service, dialect: Any) -> None:
    error = refusal(service, message("predict", field(I32, 1, struct.pack(">i", 7))), dialect)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.field == "doc"


@BOTH
def test_missing_argument(service: Service, dialect: Any) -> None:
    error = refusal(service, message("predict"), dialect)
    assert (error.code, error.message) == (ErrorCode.INVALID_ARGUMENT, "doc: the argument is missing")


@BOTH
def test_invalid_utf8(service: Service, dialect: Any) -> None:
    error = refusal(service, message("predict", field(STRING, 1, string(4, b"\xffset"))), dialect)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.field == "doc"
    assert "UTF-8" in error.message


def test_empty_document(service: Service) -> None:
    with service.client() as predictor:
        nothing = predictor.predict("", None)
        assert nothing == pytest.approx(predictor.predict("<pad>", None), abs=1e-5)
        assert nothing == pytest.approx(predictor.predict(" \t\r\n\v\f", None), abs=1e-5)
        assert predictor.predict_batch([], None) == []
    assert service.http("/?doc=").text == "".join(f"{label}:{nothing[label]:g}\n" for label in sorted(nothing))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (RequestOptions(timeout_ms=0), "options.timeout_ms: must lie between 1 and 600,000, got 0"),
        (RequestOptions(timeout_ms=-5), "options.timeout_ms: must lie between 1 and 600,000, got -5"),
        (RequestOptions(timeout_ms=HUGE), "max_timeout_ms"),
        (RequestOptions(lane=2), "options.lane: must be 0 (INTERACTIVE) or 1 (BULK), got 2"),
        (RequestOptions(request_id="x" * 129), "options.request_id"),
    ],
)
def test_options_out_of_range(service: Service, options: RequestOptions, complaint: str) -> None:
    with service.client() as predictor, pytest.raises(PredictionError) as caught:
        predictor.predict("set an alarm", options)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert complaint in caught.value.message


# ------------------------------------------------------------------------------------------------------------- silence


@pytest.fixture(scope="module")
def impatient(classifier: Path) -> Iterator[Service]:
    """A service that waits a second for the rest of a message, and three for a silent client."""
    with Service(classifier, "--no-rest", "--message-s=1", "--idle-s=3") as service:
        yield service


def test_half_a_message_and_silence(impatient: Service) -> None:
    whole = message("predict", field(STRING, 1, string(12, b"set an alarm")))
    for half in (whole[: len(whole) // 2], struct.pack(">i", len(whole)) + whole[:-3], whole[:1]):
        assert end_of_connection(impatient, half) == b""
    assert len(logged(impatient, "(setting message_s)")) == 3
    assert impatient.status().ready


def test_silence(impatient: Service) -> None:
    assert end_of_connection(impatient, b"") == b""
    assert impatient.status().ready


# -------------------------------------------------------------------------------------------------------- great lengths


@BOTH
def test_document_of_100_megabytes(service: Service, dialect: Any) -> None:
    with service.client(dialect) as predictor, pytest.raises(PredictionError) as caught:
        predictor.predict("a" * (100 * MEBIBYTE), None)
    assert caught.value.code == ErrorCode.TOO_LARGE
    assert "(setting message_bytes)" in caught.value.message or "(setting string_bytes)" in caught.value.message


def test_document_of_100_megabytes_over_http(service: Service, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b'{"doc": "' + b"a" * (100 * MEBIBYTE) + b'"}')
    url = f"http://{HOST}:{service.rest_port}/predict"
    answer = curl("-w", "%{http_code}", "-H", "Content-Type: application/json", "--data-binary", f"@{body}", url)
    assert "max_body_bytes" in answer
    assert answer.endswith("413")


def test_document_of_too_many_tokens(service: Service) -> None:
    with service.client() as predictor:
        with pytest.raises(PredictionError) as caught:
            predictor.predict("a " * 4097, None)
        assert predictor.predict("a " * 4096, None)
    assert caught.value.code == ErrorCode.TOO_LARGE
    assert "4096 tokens (setting max_tokens)" in caught.value.message


def test_document_with_too_long_a_token(service: Service) -> None:
    message = "a token of the text has more than 16384 bytes (setting max_token_bytes)"
    with service.client() as predictor:
        with pytest.raises(PredictionError) as caught:
            predictor.predict("a " + "b" * 16385, None)
        assert (caught.value.code, caught.value.message) == (ErrorCode.TOO_LARGE, f"doc: {message}")
        with pytest.raises(PredictionError) as caught:
            predictor.predict_batch(["a", "b" * MEBIBYTE], None)
        assert (caught.value.code, caught.value.message) == (ErrorCode.TOO_LARGE, f"docs[1]: {message}")
        assert predictor.predict("a " + "b" * 16384, None)
    body = json.dumps({"doc": "b" * 16385})
    answer = service.http("/predict", method="POST", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json()["error"]["message"]) == (413, f"doc: {message}")


def test_methods_without_a_model_say_what_to_load(service: Service) -> None:
    calls = {
        "a Smart Reply model": lambda predictor: predictor.reply("hello", None, None),
        "a sentence encoder": lambda predictor: predictor.embed("hello", None, None),
        "a text generator": lambda predictor: predictor.generate("hello", GenerationOptions(), None),
    }
    with service.client() as predictor:
        for wanted, call in calls.items():
            with pytest.raises(PredictionError) as caught:
                call(predictor)
            assert caught.value.code == ErrorCode.NOT_FOUND
            assert wanted in caught.value.message
            assert "--model NAME=LOCATION" in caught.value.message
