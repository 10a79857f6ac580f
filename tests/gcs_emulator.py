"""`python -m tests.gcs_emulator`: gcp-storage-emulator, which besides calls off resumable uploads, as Google does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator import __main__, server, settings

# https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
_CLIENT_CLOSED_REQUEST = SimpleNamespace(value=499, phrase="Client Closed Request")


def _call_off(request: Any, response: Any, storage: Any) -> None:
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _CLIENT_CLOSED_REQUEST


def _main() -> None:
    (uploads,) = (
        handlers for pattern, handlers in server.HANDLERS if pattern.startswith(f"^{settings.UPLOAD_API_ENDPOINT}")
    )
    uploads["DELETE"] = _call_off
    __main__.main()


if __name__ == "__main__":
    _main()
