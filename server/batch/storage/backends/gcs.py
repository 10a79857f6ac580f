"""Google Cloud Storage, through gcsfs.

Credentials and endpoint are found as gcsfs finds them: GOOGLE_APPLICATION_CREDENTIALS, STORAGE_EMULATOR_HOST, ...
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from server.batch.storage.backends.backend import RangeFile
from server.batch.storage.backends.object_store import OPTIONS, ObjectStore, library, object_path
from server.batch.storage.errors import changed

if TYPE_CHECKING:
    from server.batch.storage.locations import Location
    from server.batch.storage.permissions import AllowedLocations


class GcsBackend(ObjectStore):
    """Google forgets unfinished uploads after a week."""

    def __init__(self, _allowed: AllowedLocations) -> None:
        # not gcsfs's default class, which asks Google over gRPC what kind of bucket it is, emulator or not
        file_system = library("gcsfs.core", "gs").GCSFileSystem
        token = {"token": "anon"} if os.environ.get("STORAGE_EMULATOR_HOST") else {}
        super().__init__(file_system(**OPTIONS, **token))

    def open(self, location: Location) -> Any:
        info = self.file_info(location)
        return RangeFile(partial(self._fetch, location, info["generation"]), int(info["size"]))

    def _fetch(self, location: Location, generation: str, start: int, end: int) -> bytes:
        path = object_path(location)
        try:
            data: bytes = self.file_system.cat_file(path, start=start, end=end, generation=generation)
        except FileNotFoundError:
            raise changed(location.text) from None
        return data
