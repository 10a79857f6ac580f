"""The contract's methods, each with what is needed to read its calls and to write its answers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TType

from server.errors import ErrorCode, PredictionError, invalid_argument
from server.transport.codecs import COMPACT, EXCEPTION, OLD, REPLY, STRICT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

    from server.transport.codecs import Codec

    Answer: TypeAlias = PredictionError | TApplicationException
    """What a call that fails is answered with."""


class Method:
    """One method of the service.

    `arguments` and `result` are the generated classes, `argument_types` and `result_types` what the decoder and the
    encoder want to know about them: [class, spec].
    """

    __slots__ = (
        "_declares_error",
        "_frames",
        "_names",
        "_required",
        "argument_types",
        "arguments",
        "handler",
        "name",
        "result",
        "result_types",
        "returns",
    )

    def __init__(self, name: str, module: ModuleType, handler: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.name = name.encode()
        self.handler = handler
        self.arguments = getattr(module, f"{name}_args")
        self.argument_types = [self.arguments, self.arguments.thrift_spec]
        self.result = getattr(module, f"{name}_result")
        self.result_types = [self.result, self.result.thrift_spec]
        declared = [field for field in self.arguments.thrift_spec if field is not None]
        self._names = tuple(field[2] for field in declared)
        self._required = tuple(
            (index, field[2], field[1] == TType.STRUCT)
            for index, field in enumerate(declared)
            if not (field[1] == TType.STRUCT and field[2].endswith("options"))
        )
        results = {field[2]: field for field in self.result.thrift_spec if field is not None}
        self.returns = "success" in results
        self._declares_error = "error" in results and results["error"][3][0] is PredictionError
        self._frames: dict[Codec, tuple[bytes, bytes]] = {
            codec: codec.frame(self.name, REPLY) for codec in (STRICT, OLD, COMPACT)
        }

    def values(self, arguments: Any) -> list[Any]:
        """The arguments in the order of their fields. Raises INVALID_ARGUMENT when one is missing.

        Only the structs of options may be missing.
        """
        values = [getattr(arguments, name) for name in self._names]
        for index, name, is_struct in self._required:
            if values[index] is None:
                raise invalid_argument(f"argument {name} is missing")
            if is_struct:
                try:
                    values[index].validate()
                except TProtocolException as error:
                    raise invalid_argument(f"argument {name}: {error}") from None
        return values

    def reply(self, codec: Codec, seqid: bytes, value: Any) -> bytes:
        """The message that answers with `value`. Raises what the encoder raises when it is of another type."""
        if self.returns:
            if value is None:
                raise TypeError("the handler returned None")
            result = self.result(value)
        else:
            result = self.result()
        before, after = self._frames[codec]
        return b"".join((before, seqid, after, codec.encode(result, self.result_types)))

    def error(self, codec: Codec, seqid: bytes, error: Answer) -> bytes:
        """The message that answers with `error`."""
        if isinstance(error, TApplicationException):
            return exception(codec, self.name, seqid, error)
        if not self._declares_error:
            return exception(codec, self.name, seqid, undeclared(error))
        before, after = self._frames[codec]
        return b"".join((before, seqid, after, codec.encode(self.result(error=error), self.result_types)))


def exception(codec: Codec, name: bytes, seqid: bytes, error: TApplicationException) -> bytes:
    """The message that answers a call of `name` with an error that no contract declares."""
    before, after = codec.frame(name, EXCEPTION)
    return b"".join((before, seqid, after, codec.write(error)))


def undeclared(error: PredictionError) -> TApplicationException:
    """The same error for a caller whose method does not declare PredictionError."""
    internal = error.code == ErrorCode.INTERNAL
    kind = TApplicationException.INTERNAL_ERROR if internal else TApplicationException.PROTOCOL_ERROR
    return TApplicationException(kind, error.message)


def method_table(module: ModuleType, handler: object) -> dict[bytes, Method]:
    """Name -> method, for all methods of a generated service module (`predictor.Predictor`).

    Raises TypeError when the handler lacks one of them, or has one that is no coroutine function.
    """
    names = [name for name, _ in inspect.getmembers(module.Iface, inspect.isfunction)]
    lacking = [name for name in names if not inspect.iscoroutinefunction(getattr(handler, name, None))]
    if lacking:
        raise TypeError(f"{type(handler).__name__} has no coroutine method {', '.join(lacking)}")
    methods = [Method(name, module, getattr(handler, name)) for name in names]
    return {method.name: method for method in methods}
