"""embedded-tf's way, with a minimal replacement of TensorFlow's REST server: one HTTP request with all lines of a file.

    python -m benchmarks.rest_front MODEL INPUT OUTPUT

Loads the SavedModel, answers POST with {"instances": [...]} by {"predictions": [...]}, posts every file of INPUT to
itself as embedded-tf's client did, and writes a prediction a line.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


def serve(model: str) -> HTTPServer:
    """A server that has loaded the model, on a free port."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    signature = loaded.signatures["serving_default"]

    class Front(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (outputs,) = signature(x=tf.constant(body["instances"], tf.float32)).values()
            answer = json.dumps({"predictions": outputs.numpy().tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return HTTPServer(("127.0.0.1", 0), Front)


def main(model: str, source: str, output: str) -> None:
    """Predict every file."""
    server = serve(model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for path in sorted(Path(source).iterdir()):
        instances = [json.loads(line) for line in path.read_text().splitlines()]
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=600)
        connection.request("POST", "/v1/models/model:predict", json.dumps({"instances": instances}))
        predictions = json.loads(connection.getresponse().read())["predictions"]
        connection.close()
        lines = (json.dumps(prediction) + "\n" for prediction in predictions)
        (Path(output) / path.name).write_text("".join(lines))
    server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
