"""Reads the arguments of a call.

The accelerated decoder is fast and lenient: it passes over fields that it does not know or that have another type than
declared, and replaces what is not UTF-8. So its result is encoded again: when that gives the bytes that came, nothing
was passed over and nothing replaced. That costs less than a microsecond and holds for nearly all calls; the others
(a newer client's fields, another order, a mistake) are walked by a scanner, which knows what is wrong.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from server.errors import invalid_argument
from server.transport.codecs import JSON
from server.transport.json_values import read_arguments

if TYPE_CHECKING:
    from server.transport.codecs import Codec
    from server.transport.limits import Limits
    from server.transport.methods import Method


class _Source:
    """What the accelerated decoder reads from: a protocol and its transport in one (see decode_impl in its source)."""

    __slots__ = ("container_length_limit", "cstringio_buf", "string_length_limit", "trans")

    def __init__(self, limits: Limits) -> None:
        self.string_length_limit = limits.string_bytes
        self.container_length_limit = limits.container_items
        self.trans = self
        self.cstringio_buf = BytesIO()

    def cstringio_refill(self, _partial: bytes, _size: int) -> BytesIO:
        raise EOFError("the message ends within its arguments")


class Decoder:
    """Bytes -> arguments, for one server."""

    __slots__ = ("_limits", "_source")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._source = _Source(limits)

    def decode(self, codec: Codec, method: Method, data: bytes, body: int, end: int) -> Any:
        """The arguments from `body` to `end`, as lenient as the accelerated decoder is.

        Raises INVALID_ARGUMENT when it cannot make sense of them.
        """
        if codec is JSON:
            return read_arguments(data[body : end - 1], method.argument_types, self._limits)
        try:
            return self._decode(codec, method, data, body)[0]
        except Exception as error:
            raise invalid_argument(f"the arguments cannot be decoded: {error}") from None

    def decode_exact(self, codec: Codec, method: Method, data: bytes, body: int) -> tuple[Any, int] | None:
        """The arguments that begin at `body`, and where they end; None when they are not plainly right."""
        try:
            arguments, end = self._decode(codec, method, data, body)
            if codec.encode(arguments, method.argument_types) != data[body:end]:
                return None
        except Exception:  # whatever it is, the scanner says it better
            return None
        return arguments, end

    def _decode(self, codec: Codec, method: Method, data: bytes, body: int) -> tuple[Any, int]:
        source = self._source
        source.cstringio_buf = stream = BytesIO(data)
        stream.seek(body)
        arguments = method.arguments()
        codec.decode(arguments, source, method.argument_types)
        return arguments, source.cstringio_buf.tell()
