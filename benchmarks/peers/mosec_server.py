"""mosec: HTTP and batching in Rust, the model in Python worker processes.

Settings come from the environment, as mosec starts its workers afresh: MODEL_PATH, BATCH, WAIT_MS and WORKERS;
`--address` and `--port` are mosec's own arguments.
"""

from __future__ import annotations

import json
import os

import torch
from mosec import Server, Worker


class Classifier(Worker):
    """One batch of documents to one list of label -> score."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)
        self.model = torch.jit.load(os.environ["MODEL_PATH"])

    def forward(self, data: list[dict[str, str]]) -> list[dict[str, float]]:
        """Called by mosec with what deserialize made of each request of a batch."""
        with torch.inference_mode():
            return self.model(tokens=[request["doc"].lower().split() or ["<pad>"] for request in data])

    def serialize(self, data: dict[str, float]) -> bytes:
        """mosec's own indents, for which the json module leaves its C encoder: four times the time."""
        return json.dumps(data).encode()


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classifier,
        num=int(os.environ["WORKERS"]),
        max_batch_size=int(os.environ["BATCH"]),
        max_wait_time=int(os.environ["WAIT_MS"]),
    )
    server.run()
