"""A server that does as it is told with each call: for what a real one does only when it is ill."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import ErrorCode, PredictionError
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Behaviour = Callable[["Scripted", socket.socket, bytes], None]
HOST = "127.0.0.1"


class Scripted:
    """Takes connections and calls; the n-th call gets the n-th behaviour, later ones the last."""

    def __init__(
        self, *behaviours: Behaviour, port: int = 0, tls: ssl.SSLContext | None = None, path: Path | None = None
    ) -> None:
        self._behaviours = list(behaviours)
        self.calls = 0
        self.lines: list[bytes] = []  # with which connections began
        self._tls = tls
        self.connections: list[socket.socket] = []
        if path is None:
            self._listener = socket.create_server((HOST, port))
            self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = f"unix:{path}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), self._secured(accepted) as connection:
            self.connections.append(connection)
            while message := self._message(connection):
                behaviour = self._behaviours[min(self.calls, len(self._behaviours) - 1)]
                self.calls += 1
                behaviour(self, connection, message)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _message(self, connection: socket.socket) -> bytes:
        file = connection.makefile("rb", buffering=0)
        head = _exactly(file, 4)
        while head == b"Bear":
            self.lines.append(head + file.readline())
            head = _exactly(file, 4)
        return _exactly(file, struct.unpack("!I", head)[0]) if len(head) == 4 else b""

    def close(self) -> None:
        """Ends everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def _exactly(file: Any, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


@contextlib.contextmanager
def scripted(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """One for the block."""
    server = Scripted(*behaviours, tls=tls)
    try:
        yield server
    finally:
        server.close()


def reply(message: bytes, *, error: Any = None, name: str | None = None) -> bytes:
    """The framed answer to a call of predict: {"a": 1.0}, or an error."""
    called, _, seqid = TBinaryProtocol(TMemoryBuffer(message)).readMessageBegin()
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer)
    protocol.writeMessageBegin(name or called, TMessageType.REPLY, seqid)
    result = Predictor.predict_result({"a": 1.0}) if error is None else Predictor.predict_result(None, error)
    result.write(protocol)
    answer: bytes = buffer.getvalue()
    return struct.pack("!I", len(answer)) + answer


def answers(_server: Scripted, connection: socket.socket, message: bytes) -> None:
    connection.sendall(reply(message))


def is_silent(_server: Scripted, _connection: socket.socket, _message: bytes) -> None:
    """The caller waits."""


def hangs_up(_server: Scripted, connection: socket.socket, _message: bytes) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def answers_half(_server: Scripted, connection: socket.socket, message: bytes) -> None:
    connection.sendall(reply(message)[:-3])
    connection.shutdown(socket.SHUT_RDWR)


def answers_another(_server: Scripted, connection: socket.socket, message: bytes) -> None:
    connection.sendall(reply(message, name="reply"))


def speaks_http(_server: Scripted, connection: socket.socket, _message: bytes) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def says_less(_server: Scripted, connection: socket.socket, _message: bytes) -> None:
    connection.sendall(struct.pack("!I", 5) + b"\x80\x01\x00\x02\x00")


def fails(code: int, retry_after_ms: int | None = None) -> Behaviour:
    """Answers with an error."""

    def behaviour(_server: Scripted, connection: socket.socket, message: bytes) -> None:
        connection.sendall(reply(message, error=PredictionError(code, "no", retry_after_ms)))

    return behaviour


OVERLOADED = fails(ErrorCode.OVERLOADED, 1)
UNAVAILABLE = fails(ErrorCode.UNAVAILABLE)
INTERNAL = fails(ErrorCode.INTERNAL)
