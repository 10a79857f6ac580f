"""The contract on the wire: the methods that the proxy calls, and the contract's structs as plain values.

Messages are framed TBinaryProtocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md):
a four-byte length, then 0x8001 and the message type, the method's name, the sequence id, and a struct. The struct is
coded by the generated classes with Apache's accelerated codec; the constant bytes before it are made once per method,
because taking them apart field by field in Python costs more than the struct.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from predictor import Predictor, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer

_I32 = Struct("!i")
_VERSION_1 = 0x80010000

_protocol = TBinaryProtocolAccelerated(None, strictRead=True)  # used for one message at a time, on the loop's thread


def _header(message_type: int, name: str) -> bytes:
    encoded = name.encode()
    return (_VERSION_1 | message_type).to_bytes(4) + _I32.pack(len(encoded)) + encoded


class Method:
    """One method of the service: its arguments to a frame, a frame to its result.

    `idempotent` says whether a call that may already have reached a server can be sent to another one.
    """

    __slots__ = ("_arguments", "_call_header", "_reply_header", "_result", "_void", "idempotent", "name")

    def __init__(self, name: str, *, idempotent: bool = True) -> None:
        self.name = name
        self.idempotent = idempotent
        self._arguments = getattr(Predictor, f"{name}_args")
        self._result = getattr(Predictor, f"{name}_result")
        self._void = not any(field is not None and field[2] == "success" for field in self._result.thrift_spec)
        self._call_header = _header(TMessageType.CALL, name)
        self._reply_header = _header(TMessageType.REPLY, name)

    def encode(self, seqid: int, arguments: tuple[Any, ...]) -> bytes:
        """A call as one frame, its length first. Raises UnicodeEncodeError for text with half a surrogate pair."""
        _protocol.trans = TMemoryBuffer()
        self._arguments(*arguments).write(_protocol)
        body = _protocol.trans.getvalue()
        header = self._call_header
        return b"".join((_I32.pack(len(header) + 4 + len(body)), header, _I32.pack(seqid), body))

    def decode(self, frame: bytes, seqid: int) -> Any:
        """The result in a frame without its length.

        Raises PredictionError or TApplicationException when that is what the server answered, and ValueError, EOFError
        or TProtocolException when it is not the answer to this call.
        """
        header = len(self._reply_header)
        if not frame.startswith(self._reply_header):
            _raise_application_exception(frame, self.name)
        if _I32.unpack_from(frame, header)[0] != seqid:
            raise ValueError(f"the answer to another call than {self.name} {seqid}")
        _protocol.trans = TMemoryBuffer(frame, header + 4)
        result = self._result()
        result.read(_protocol)
        if result.failure is not None:
            raise result.failure
        if self._void:
            return None
        if result.success is None:
            raise TApplicationException(TApplicationException.MISSING_RESULT, f"{self.name} gave no result")
        return result.success


def _raise_application_exception(frame: bytes, name: str) -> None:
    _protocol.trans = TMemoryBuffer(frame)
    answered, message_type, _ = _protocol.readMessageBegin()
    if message_type != TMessageType.EXCEPTION:
        raise ValueError(f"a message of type {message_type} for {answered!r} instead of the answer to {name}")
    exception = TApplicationException()
    exception.read(_protocol)
    raise exception


PREDICT = Method("predict")
PREDICT_BATCH = Method("predict_batch")
REPLY = Method("reply")
REPLY_BATCH = Method("reply_batch")
CLASSIFY = Method("classify")
CLASSIFY_TOKENS_BATCH = Method("classify_tokens_batch")
RERANK = Method("rerank")
EMBED_MATRIX = Method("embed_matrix")
EMBED_IDS = Method("embed_ids")
EMBED_TOKENS = Method("embed_tokens")
EMBED_SPARSE = Method("embed_sparse")
TOKENIZE = Method("tokenize")
DETOKENIZE = Method("detokenize")
GENERATE = Method("generate")
GENERATE_BEGIN = Method("generate_begin", idempotent=False)  # the stream that it started may be there
GENERATE_NEXT = Method("generate_next", idempotent=False)  # the text that it took may be lost
GENERATE_CANCEL = Method("generate_cancel")
CHAT = Method("chat")
CHAT_BEGIN = Method("chat_begin", idempotent=False)  # as generate_begin
CHAT_PROMPT = Method("chat_prompt")
SUBMIT_BATCH = Method("submit_batch", idempotent=False)
GET_BATCH = Method("get_batch")
CANCEL_BATCH = Method("cancel_batch")
RESUME_BATCH = Method("resume_batch")
LIST_BATCHES = Method("list_batches")
LIST_MODELS = Method("list_models")
STATUS = Method("status")

_ENUMS = {
    (ttypes.BatchJob, "state"): ttypes.BatchState,
    (ttypes.BatchJob, "failed_stage"): ttypes.BatchStage,
    (ttypes.BatchRequest, "on_error"): ttypes.OnError,
    (ttypes.ChatCompletion, "finish_reason"): ttypes.FinishReason,
    (ttypes.Generation, "finish_reason"): ttypes.FinishReason,
    (ttypes.GenerationChunk, "finish_reason"): ttypes.FinishReason,
    (ttypes.ModelInfo, "state"): ttypes.ModelState,
    (ttypes.ModelStatus, "state"): ttypes.ModelState,
}
_JSON_TYPES = {
    TType.BOOL: "boolean",
    TType.I32: "integer",
    TType.I64: "integer",
    TType.DOUBLE: "number",
    TType.STRING: "string",
}


def plain(value: Any) -> Any:
    """A struct of the contract as JSON has it: objects without the fields that are not set, enums by name."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return list(value)
    if not hasattr(value, "thrift_spec"):
        return value
    return {name: _plain_field(type(value), name, item) for name, item in vars(value).items() if item is not None}


def _plain_field(struct: Any, name: str, value: Any) -> Any:
    enum = _ENUMS.get((struct, name))
    return plain(value) if enum is None else enum._VALUES_TO_NAMES.get(value, str(value))


def schema(struct: Any) -> dict[str, Any]:
    """The JSON Schema of what `plain` makes of the struct class."""
    return {
        "type": "object",
        "properties": {
            field[2]: {"enum": list(_ENUMS[struct, field[2]]._NAMES_TO_VALUES)}
            if (struct, field[2]) in _ENUMS
            else _field_schema(field[1], field[3])
            for field in struct.thrift_spec
            if field is not None
        },
    }


def _field_schema(kind: int, details: Any) -> dict[str, Any]:
    if kind == TType.STRUCT:
        return schema(details[0])
    if kind == TType.LIST:
        return {"type": "array", "items": _field_schema(details[0], details[1])}
    if kind == TType.MAP:
        return {"type": "object", "additionalProperties": _field_schema(details[2], details[3])}
    return {"type": _JSON_TYPES[kind]}
