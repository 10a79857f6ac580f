"""`python -m tests.support.gcs_emulator`: gcp-storage-emulator, but for two things.

It calls off resumable uploads, and knows that an object's earlier generations are gone, as Google does.
"""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator import __main__, server, settings
from gcp_storage_emulator.handlers import objects

# https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
_CLIENT_CLOSED_REQUEST = SimpleNamespace(value=499, phrase="Client Closed Request")


def _call_off(request: Any, response: Any, storage: Any) -> None:
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _CLIENT_CLOSED_REQUEST


def _download(request: Any, response: Any, storage: Any) -> None:
    name = request.params["bucket_name"], request.params["object_id"]
    generation = request.query.get("generation", [None])[0]
    if generation is not None and storage.get_file_obj(*name)["generation"] != generation:
        response.status = HTTPStatus.NOT_FOUND
        return
    objects.download(request, response, storage)


def _main() -> None:
    (uploads,) = (
        handlers for pattern, handlers in server.HANDLERS if pattern.startswith(f"^{settings.UPLOAD_API_ENDPOINT}")
    )
    uploads["DELETE"] = _call_off
    (downloads,) = (
        handlers for pattern, handlers in server.HANDLERS if pattern.startswith(f"^{settings.DOWNLOAD_API_ENDPOINT}")
    )
    downloads["GET"] = _download
    __main__.main()


if __name__ == "__main__":
    _main()
