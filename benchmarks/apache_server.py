"""The plain Apache Thrift server for Python: one thread a connection, each calling the model for itself."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import TBufferedTransportFactory

from benchmarks.inprocess import load, words_of


class Handler:
    """`predict` as one writes it from the tutorial."""

    def __init__(self, path: Path) -> None:
        self._model = load(path)

    def predict(self, doc: str, options: object) -> dict[str, float]:
        """Label -> score."""
        with torch.inference_mode():
            return dict(self._model(tokens=[words_of(doc)])[0])


def serve(handler: object, port: int) -> None:
    """Serve for ever, on a port of this machine."""
    server = TThreadedServer(
        Predictor.Processor(handler),
        TServerSocket("127.0.0.1", port),
        TBufferedTransportFactory(),
        TBinaryProtocolAcceleratedFactory(),
        daemon=True,
    )
    server.serve()


def main() -> None:
    """Serve the model sys.argv[1] on port sys.argv[2] of this machine."""
    torch.set_num_threads(1)
    serve(Handler(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
