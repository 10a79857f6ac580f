"""Our own model server as a process of its own: a TensorFlow server that others keep running."""

from __future__ import annotations

from tests.support.service import HOST, Child


class ModelServer(Child):
    """`python -m server.tensorflow.model_server FOLDER --name NAME`; it listens soon after the block begins."""

    def __init__(self, folder: object, name: str = "model", port: int = 0) -> None:
        super().__init__("server.tensorflow.model_server", folder, f"--name={name}", f"--port={port}")
        self.name = name
        self.port = 0

    def started(self) -> None:
        """Wait for its port."""
        line = self.read_stdout_line()
        assert line, "it ended without a port"
        self.port = int(line)

    @property
    def url(self) -> str:
        """Where the model is."""
        return f"tfserving://{HOST}:{self.port}/{self.name}"
