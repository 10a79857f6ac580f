"""Calls and answers as framed TBinaryProtocol, coded by the generated classes and Apache's C codec."""

from __future__ import annotations

from struct import Struct
from typing import Any

from predictor import Predictor
from predictor.ttypes import PredictionError
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from predictor_client.errors import ProtocolError, call_error

LENGTH = Struct("!I")
"""What stands before each message."""


class Method:
    """One method of the contract.

    `repeatable`: whether a call that may have run can be made again, by callers who say that theirs can. It is false
    where a second run would lose text of a stream, or make a second job.
    """

    def __init__(self, name: str, *, repeatable: bool = True) -> None:
        self.name = name
        self.repeatable = repeatable
        self._arguments = getattr(Predictor, f"{name}_args")
        self._result = getattr(Predictor, f"{name}_result")
        fields = [field for field in self._result.thrift_spec if field is not None]
        self._has_result = any(field[2] == "success" for field in fields)
        (self._failure,) = (field[2] for field in fields if field[1] == TType.STRUCT and field[3][0] is PredictionError)

    def encode(self, seqid: int, arguments: tuple[Any, ...]) -> bytes:
        """A call, its length first. Raises TypeError and UnicodeEncodeError for what cannot be sent."""
        buffer = TMemoryBuffer()
        protocol = TBinaryProtocolAccelerated(buffer, fallback=True)
        protocol.writeMessageBegin(self.name, TMessageType.CALL, seqid)
        self._arguments(*arguments).write(protocol)
        protocol.writeMessageEnd()
        message: bytes = buffer.getvalue()
        return LENGTH.pack(len(message)) + message

    def decode(self, message: bytes, seqid: int) -> Any:
        """The result in a message without its length. Raises CallError where that is the answer, and ProtocolError."""
        try:
            result = self._read(message, seqid)
        except TApplicationException as error:
            raise ProtocolError(f"{self.name}: {error.message}") from None
        except (EOFError, TTransportException, TProtocolException, TypeError, ValueError) as error:
            raise ProtocolError(f"{self.name}: what came is no answer of this service: {error}") from error
        failure = getattr(result, self._failure)
        if failure is not None:
            raise call_error(failure)
        if not self._has_result:
            return None
        if result.success is None:
            raise ProtocolError(f"{self.name}: the answer has no result")
        return result.success

    def _read(self, message: bytes, seqid: int) -> Any:
        protocol = TBinaryProtocolAccelerated(TMemoryBuffer(message), fallback=True)
        name, kind, answered = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            exception = TApplicationException()
            exception.read(protocol)
            raise exception
        if (name, kind, answered) != (self.name, TMessageType.REPLY, seqid):
            raise ProtocolError(f"{self.name} {seqid} was answered as {name!r} {answered}")
        result = self._result()
        result.read(protocol)
        return result
