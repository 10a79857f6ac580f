"""What the transport refuses says as data which argument is wrong and which setting's limit was hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import BatchRequest, ErrorCode, RequestOptions

from server.transport.limits import Limits
from tests.server.transport.bad_input import STRING, ask, each_framing, size
from tests.server.transport.service import envelope, message, refused, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.transport.service import RunningServer

LIMITS = Limits(
    message_bytes=20_000, string_bytes=1000, container_items=10, message_fields=20, nesting=4, discard_bytes=1 << 20
)
NO_INPUT = BatchRequest("predict", None, None, "out")
WRONG, LARGE = ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE

DEEP = STRING + size(1) + b"a" + b"\x0c\0\x09" * 4 + bytes(5)

REFUSALS = {
    "no document": (message("predict", None), WRONG, "doc", None),
    "no required field": (
        message("submit_batch", BatchRequest("predict", None, None, "out")),
        WRONG,
        "request.input",
        None,
    ),
    "another type": (envelope("predict") + b"\x08\0\1" + size(5) + b"\0", WRONG, "doc", None),
    "another type inside": (
        envelope("predict") + STRING + size(1) + b"a\x0c\0\2\x0b\0\2" + size(2) + b"10\0\0",
        WRONG,
        "options.timeout_ms",
        None,
    ),
    "no UTF-8": (message("predict_batch", ["a", "@@"]).replace(b"@@", b"\xff\xfe"), WRONG, "docs[1]", None),
    "no UTF-8 in an option": (
        message("predict", "a", RequestOptions(model="@@")).replace(b"@@", b"\xff\xfe"),
        WRONG,
        "options.model",
        None,
    ),
    "a negative length": (envelope("predict") + STRING + size(-1) + b"\0", WRONG, "doc", None),
    "a long string": (message("predict_batch", ["a", "b" * 1001]), LARGE, "docs[1]", "string_bytes"),
    "many items": (message("predict_batch", ["a"] * 11), LARGE, "docs", "container_items"),
    "many fields": (
        envelope("predict") + b"\x02\0\x63\1" * 21 + STRING + size(1) + b"a\0",
        LARGE,
        None,
        "message_fields",
    ),
    "deep": (envelope("predict") + DEEP, LARGE, "field 9.field 9.field 9.field 9", "nesting"),
}


@pytest.fixture(scope="module")
def small() -> Iterator[RunningServer]:
    """A server that takes little."""
    with running(LIMITS) as server:
        yield server


@each_framing
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_its_argument_and_its_setting(small: RunningServer, framed: bool, name: str) -> None:
    data, code, field, setting = REFUSALS[name]
    answer = ask(small, data, framed=framed)
    refused(answer, code)
    assert (answer.field, answer.setting) == (field, setting), answer
    if field is not None:
        assert answer.message.startswith(f"{field}: ")
    if setting is not None:
        assert answer.message.endswith(f" (setting {setting})")


def test_a_frame_over_the_limit_names_the_setting(small: RunningServer) -> None:
    answer = ask(small, message("predict", "a" * 20_000), framed=True)
    refused(answer, ErrorCode.TOO_LARGE, "over the limit of 20000 bytes")
    assert (answer.field, answer.setting) == (None, "message_bytes")
