"""The Thrift port: a balancer's header, a token's line, frames, headers, all codecs, and the handlers behind them.

The first byte says how the bytes behind it come: whether a balancer's header comes first (1), whether there are tokens
(2), and in pieces of which size.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from predictor import Predictor
from predictor.ttypes import (
    BatchRequest,
    ChatMessage,
    ClassifyOptions,
    EmbedOptions,
    GenerationOptions,
    ReplyOptions,
    RequestOptions,
    TokenOptions,
)
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID, THeaderTransformID
from thrift.transport.TTransport import TMemoryBuffer

from process.security.access import Access
from server.security.gate import METHODS, Gate
from server.transport.connection import Connection
from server.transport.endpoint import Endpoint
from server.transport.limits import limits_of
from server.transport.methods import method_table
from server.transport.plain import plain_messages
from server.transport.proxy_header import ProxiedConnection
from tests.fuzz.fake_transport import FakeTransport, pieces
from tests.fuzz.handlers import SETTINGS, handler
from tests.server.transport.service import RecordingLog, frame, message
from tests.server.transport.thrift_clients import DIALECTS
from tests.support.tokens import TokenFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

PROXIED, WITH_TOKENS = 1, 2
SIZES = (0, 1, 3, 64)
TOKEN = "pt_" + "a" * 43

_PASSES = 4  # of the event loop, after which all is answered
_BALANCER = b"PROXY TCP4 203.0.113.7 203.0.113.1 4711 9090\r\n"
_BALANCER_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xcb\x00\x71\x01\x12\x67\x23\x82"


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 96 << 20

    def __init__(self, files: SharedFiles) -> None:
        self._loop = asyncio.new_event_loop()
        limits = limits_of(SETTINGS)
        path = files.made("fuzz/tokens.toml", _write_tokens)
        self._log = RecordingLog()
        served = handler()
        methods = method_table(Predictor, served, limits)
        plain = plain_messages(set(methods.values()), served, limits)
        gate = Gate(Access(path, METHODS), lambda _: "letters")
        self._endpoints = {
            False: Endpoint(methods, limits, self._log, plain=plain),
            True: Endpoint(methods, limits, self._log, gate, plain=plain),
        }

    def one(self, data: bytes) -> bool:
        """Whether all of it was answered, and nothing refused."""
        if not data:
            return False
        self._log.lines.clear()
        right = self._loop.run_until_complete(self._one(data[0], data[1:]))
        faults = [line for line in self._log.lines if line[0] == "error"]
        assert not faults, faults
        return right

    async def _one(self, how: int, data: bytes) -> bool:
        endpoint = self._endpoints[bool(how & WITH_TOKENS)]
        refused = endpoint.counters.bad_messages
        connection = Connection(endpoint)
        transport = FakeTransport(ProxiedConnection(endpoint, connection) if how & PROXIED else connection)
        transport.protocol.connection_made(transport)
        for piece in pieces(data, SIZES[how >> 2 & 3]):
            if transport.is_closing():
                break
            transport.protocol.data_received(piece)
            for _ in range(100):
                if transport.reads:
                    break
                await asyncio.sleep(0)
        for _ in range(_PASSES):
            await asyncio.sleep(0)
        whole = not transport.is_closing() and not connection._reader.partial
        answered = bool(transport.written)
        transport.lose()
        assert not endpoint.connections
        assert not endpoint.turned_away
        return whole and answered and endpoint.counters.bad_messages == refused

    def seeds(self) -> Iterator[bytes]:
        """A call of each method, and calls in each dialect."""
        options = RequestOptions("letters", 1000, 0, "id-1")
        calls = [
            ("predict", "abc", options),
            ("predict_batch", ["a", "b"], None),
            ("classify", ["abc"], options, ClassifyOptions(top_k=2, raw_scores=True, candidate_labels=["ab", "cd"])),
            ("classify_tokens", "Ada is here", options, TokenOptions(1, ["O"], True)),
            ("classify_tokens_batch", ["Ada", "b"], None, None),
            ("rerank", "ab", ["abc", "d"], options, None),
            ("reply", "hello", options, ReplyOptions(2, 0.1)),
            ("reply_batch", ["hello"], None, None),
            ("reply_conversation", ["a", "b"], None, None),
            ("embed", "abc", options, EmbedOptions(True, 1, False, 4, True, "query", None, 1)),
            ("embed_batch", ["abc"], None, None),
            ("embed_matrix", ["abc", "d"], options, EmbedOptions(encoding=2)),
            ("embed_ids", [[1, 2], [3]], None, None),
            ("embed_tokens", ["a b"], None, None),
            ("embed_sparse", ["abc"], None, None),
            ("tokenize", ["a b"], None, None),
            ("detokenize", [[1, 2]], None),
            ("generate", "a", GenerationOptions(8, 0.5, stop=["x"], logit_bias={1: 0.5}, regex="a*"), options),
            ("generate_begin", "a", GenerationOptions(json_schema="{}"), options),
            ("generate_next", "id", 100),
            ("generate_cancel", "id"),
            ("chat", [ChatMessage("user", "hello", "n", [], "t", "r")], None, options, None),
            ("chat_prompt", [ChatMessage("user", "hello")], None, None),
            ("submit_batch", BatchRequest("predict", None, "/a/*.jsonl", "/b", 1, 5, "id")),
            ("get_batch", "id"),
            ("list_batches", 10),
            ("list_models",),
            ("load_model", "a", "b"),
            ("unload_model", "a"),
            ("status",),
        ]
        for number, (method, *arguments) in enumerate(calls):
            yield bytes([number & 12]) + frame(message(method, *arguments))
        for number, dialect in enumerate(DIALECTS):
            buffer = TMemoryBuffer()
            client = Predictor.Client(dialect.protocol(dialect.transport(buffer)))
            client.send_embed("abcd", options, EmbedOptions(dimensions=4))
            client.send_predict("ab", None)
            yield bytes([4 * number & 12]) + buffer.getvalue()
        call = frame(message("predict", "abc", None))
        for number, bare in enumerate((call[4:], _compact(), frame(_compact()), _compact() + call[4:])):
            yield bytes([4 * number & 12]) + bare
        yield bytes([PROXIED]) + _BALANCER + call
        yield bytes([PROXIED | 4]) + _BALANCER_2 + call
        yield bytes([WITH_TOKENS]) + f"Bearer {TOKEN}\n".encode() + call
        yield bytes([WITH_TOKENS]) + _with_header(TOKEN)

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._loop.close()


def _compact() -> bytes:
    buffer = TMemoryBuffer()
    Predictor.Client(TCompactProtocol(buffer)).send_predict("abc", None)
    written: bytes = buffer.getvalue()
    return written


def _with_header(token: str) -> bytes:
    buffer = TMemoryBuffer()
    protocol = THeaderProtocol(buffer, (THeaderClientType.HEADERS,), THeaderSubprotocolID.COMPACT)
    protocol.add_transform(THeaderTransformID.ZLIB)
    protocol.set_header(b"x-api-key", token.encode())
    Predictor.Client(protocol).send_predict("abc", None)
    written: bytes = buffer.getvalue()
    return written


def _write_tokens(path: object) -> None:
    file = TokenFile(path)  # type: ignore[arg-type]
    file.tokens["app"] = TOKEN
    file.add("app", models=["letters"], in_flight=100)
    file.write()
