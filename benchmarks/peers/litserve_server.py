"""LitServe: FastAPI processes in front, batching and the model in worker processes.

Settings come from the environment, as LitServe starts its workers afresh: MODEL_PATH, BATCH, WAIT_MS, WORKERS and
API_SERVERS. The port is the only argument.
"""

from __future__ import annotations

import os
import sys

import litserve
import torch


class Classifier(litserve.LitAPI):
    """One batch of documents to one list of label -> score."""

    def setup(self, device: str) -> None:
        """Called by LitServe in every worker."""
        torch.set_num_threads(1)
        self.model = torch.jit.load(os.environ["MODEL_PATH"])

    def decode_request(self, request: dict[str, str]) -> list[str]:
        """The words of one request."""
        return request["doc"].lower().split() or ["<pad>"]

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """As it is: LitServe's own would make an array of it."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[dict[str, float]]:
        """One batch."""
        with torch.inference_mode():
            scores: list[dict[str, float]] = self.model(tokens=x)
        return scores

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        """As it is."""
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=int(os.environ["BATCH"]), batch_timeout=float(os.environ["WAIT_MS"]) / 1000)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
        fast_queue=os.environ.get("FAST_QUEUE") == "1",
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=int(os.environ["API_SERVERS"]),
        log_level="error",
        generate_client_file=False,
    )
