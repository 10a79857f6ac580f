"""ovmsclient, OpenVINO's client of TensorFlow Serving's REST interface, and that one's own examples by requests."""

from __future__ import annotations

import ovmsclient
import requests
from program import run


def answer(url: str, texts: list[str], query: str) -> dict[str, object]:
    client = ovmsclient.make_http_client(url.removeprefix("http://"))
    encoded = [text.encode() for text in texts]
    status = client.get_model_status("encoder")
    [version] = status
    refused = {}
    try:
        client.predict({"text": encoded}, "none")
    except ovmsclient.ModelServerError as error:
        refused["no model"] = str(error)

    def post(path: str, **body: object) -> dict[str, object]:
        return requests.post(f"{url}/v1/models/{path}", json=body, timeout=60).json()

    examples = [{"text": text} for text in texts]
    return {
        "state": status[version]["state"],
        "metadata": client.get_model_metadata("encoder"),
        "vectors": client.predict({"text": encoded}, "encoder").tolist(),
        "vectors of a version": client.predict({"text": encoded}, "encoder", version).tolist(),
        "vectors by rows": post("encoder:predict", signature_name="serving_default", instances=texts)["predictions"],
        "labels": [one[0][0] for one in post("topics:classify", examples=examples)["result"]],
        "ranks": post("reranker:regress", examples=examples, context={"query": query})["result"],
        "refused": refused,
    }


run(answer)
