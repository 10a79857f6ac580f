"""The contract's methods, each with what is needed to read its calls and to write its answers."""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TType

from server.errors import ErrorCode, PredictionError, invalid_argument, too_large
from server.transport.codecs import CODECS, EXCEPTION, REPLY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

    from server.transport.codecs import Codec
    from server.transport.limits import Limits

    Answer: TypeAlias = PredictionError | TApplicationException
    """What a call that fails is answered with."""


_ENVELOPE_BYTES = 512
"""What an answer may have beside its values: names, ids and what its struct is made of."""


class Method:
    """One method of the service.

    `arguments` makes an object for the decoder to fill; `argument_types` is what decoder and encoder want to know about
    it: [class, spec].
    """

    __slots__ = (
        "_failure",
        "_frames",
        "_max_bytes",
        "_required",
        "_result",
        "_result_types",
        "_returns",
        "_values",
        "argument_types",
        "arguments",
        "handler",
        "method",
        "name",
    )

    def __init__(
        self, name: str, module: ModuleType, handler: Callable[..., Coroutine[Any, Any, Any]], limits: Limits
    ) -> None:
        self.method = name
        self.name = name.encode()
        self._max_bytes = limits.message_bytes + _ENVELOPE_BYTES
        self.handler = handler
        argument_spec = getattr(module, f"{name}_args").thrift_spec
        self.arguments = _record(argument_spec)
        self.argument_types = [self.arguments, argument_spec]
        result_spec = getattr(module, f"{name}_result").thrift_spec
        self._result = _record(result_spec)
        self._result_types = [self._result, result_spec]
        declared = [field for field in argument_spec if field is not None]
        self._values = _getter([field[2] for field in declared])
        self._required = tuple(
            (index, field[2], _required_fields(field[3][0]) if field[1] == TType.STRUCT else ())
            for index, field in enumerate(declared)
            if not (field[1] == TType.STRUCT and field[2].endswith("options"))
        )
        results = {field[2]: field for field in result_spec if field is not None}
        self._returns = "success" in results
        self._failure = next((name for name, field in results.items() if _is_prediction_error(field)), None)
        self._frames: dict[Codec, tuple[bytes, bytes]] = {codec: codec.frame(self.name, REPLY) for codec in CODECS}

    def values(self, arguments: Any) -> tuple[Any, ...]:
        """The arguments in the order of their fields. Raises INVALID_ARGUMENT when one is missing.

        Only the structs of options may be missing.
        """
        values = self._values(arguments)
        for index, name, required_fields in self._required:
            value = values[index]
            if value is None:
                raise invalid_argument("the argument is missing", field=name)
            for field in required_fields:
                if getattr(value, field) is None:
                    raise invalid_argument("the field is missing", field=f"{name}.{field}")
        return values

    def envelope(self, codec: Codec) -> tuple[bytes, bytes]:
        """The bytes of an answer before its sequence id, and those between it and the result."""
        return self._frames[codec]

    def reply(self, codec: Codec, seqid: bytes, value: Any) -> bytes:
        """The message that answers with `value`. Raises what the encoder raises when it is of another type.

        And TOO_LARGE for one that is longer than clients take.
        """
        result = self._result()
        if self._returns:
            if value is None:
                raise TypeError("the handler returned None")
            result.success = value
        encoded = codec.encode(result, self._result_types)
        if len(encoded) > self._max_bytes:
            raise _answer_too_large(len(encoded), self._max_bytes - _ENVELOPE_BYTES)
        before, after = self._frames[codec]
        return b"".join((before, seqid, after, encoded))

    def error(self, codec: Codec, seqid: bytes, error: Answer) -> bytes:
        """The message that answers with `error`."""
        if isinstance(error, TApplicationException):
            return exception(codec, self.name, seqid, error)
        if self._failure is None:
            return exception(codec, self.name, seqid, undeclared(error))
        result = self._result()
        setattr(result, self._failure, error)
        before, after = self._frames[codec]
        return b"".join((before, seqid, after, codec.encode(result, self._result_types)))


def _answer_too_large(size: int, limit: int) -> PredictionError:
    """For what could not be known before the work was done: handlers refuse what they can foresee."""
    return too_large(
        f"the answer has {size} bytes, over the limit of {limit}; ask for less at a time", setting="message_bytes"
    )


def _is_prediction_error(field: Any) -> bool:
    """Whether this field of a result's thrift_spec is the contract's exception, whatever it is called."""
    return bool(field[1] == TType.STRUCT and field[3][0] is PredictionError)


def _record(spec: Any) -> type[Any]:
    """A class with a thrift_spec's fields, each having its default. It costs less to make than the generated one."""
    return type("Record", (), {field[2]: field[4] for field in spec if field is not None})


def _required_fields(struct: type[Any]) -> tuple[str, ...]:
    """Those fields of a generated struct without which it does not validate."""
    names = [field[2] for field in struct.thrift_spec if field is not None]
    required = []
    for name in names:
        others: dict[str, object] = dict.fromkeys(names, "")
        try:
            struct(**others | {name: None}).validate()
        except TProtocolException:
            required.append(name)
    return tuple(required)


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gives these attributes of its argument."""
    if len(names) > 1:
        return attrgetter(*names)  # of a single name it gives no tuple
    return lambda arguments: tuple(getattr(arguments, name) for name in names)


def exception(codec: Codec, name: bytes, seqid: bytes, error: TApplicationException) -> bytes:
    """The message that answers a call of `name` with an error that no contract declares."""
    before, after = codec.frame(name, EXCEPTION)
    return b"".join((before, seqid, after, codec.write(error)))


def undeclared(error: PredictionError) -> TApplicationException:
    """The same error for a caller whose method does not declare PredictionError."""
    internal = error.code == ErrorCode.INTERNAL
    kind = TApplicationException.INTERNAL_ERROR if internal else TApplicationException.PROTOCOL_ERROR
    return TApplicationException(kind, error.message)


def method_table(module: ModuleType, handler: object, limits: Limits) -> dict[bytes, Method]:
    """Name -> method, for all methods of a generated service module (`predictor.Predictor`).

    Each is there by its name, and by that of TMultiplexedProtocol: the service's name, a colon and the method's. Its
    answer has the plain name, as Apache's TMultiplexedProcessor gives it.

    Raises TypeError when the handler lacks one of them, or has one that is no coroutine function of its arguments.
    """
    methods = {}
    lacking = []
    service = module.__name__.rpartition(".")[2].encode()
    for name, declaration in inspect.getmembers(module.Iface, inspect.isfunction):
        function: Any = getattr(handler, name, None)
        if _takes(function, len(inspect.signature(declaration).parameters) - 1):
            method = Method(name, module, function, limits)
            methods[method.name] = methods[service + b":" + method.name] = method
        else:
            lacking.append(f"{name}{inspect.signature(declaration)}")
    if lacking:
        raise TypeError(f"{type(handler).__name__} has no coroutine method {', '.join(lacking)}")
    return methods


def _takes(function: Any, count: int) -> bool:
    """Whether this is a coroutine function that can be called with so many arguments."""
    if not inspect.iscoroutinefunction(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
