"""S3 and what speaks its protocol, through s3fs.

Credentials and endpoint are found as s3fs finds them: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from server.batch.storage.backends.backend import BLOCK_BYTES
from server.batch.storage.backends.object_store import OPTIONS, ObjectStore, Upload, library, object_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.batch.storage.locations import Location
    from server.batch.storage.permissions import AllowedLocations

log = structlog.get_logger()


class S3Backend(ObjectStore):
    """s3fs sees to it by itself that all blocks of a file are of one version."""

    def __init__(self, _allowed: AllowedLocations) -> None:
        super().__init__(library("s3fs", "s3").S3FileSystem(**OPTIONS))

    def open(self, location: Location) -> Any:
        return self.file_system.open(object_path(location), "rb", block_size=BLOCK_BYTES, cache_type="readahead")

    def create(self, location: Location, owner: str, on_upload: Callable[[str], None]) -> Upload:
        file = self.new_file(location)
        begin = file._initiate_upload

        def begin_and_tell() -> None:
            begin()
            if file.mpu is not None:  # else the file is small, and is sent at once
                on_upload(file.mpu["UploadId"])

        file._initiate_upload = begin_and_tell
        return Upload(file)

    def delete_leftovers(self, location: Location, owner: str, upload: str | None) -> None:
        """S3 keeps the parts of an unfinished upload until somebody calls it off; others may be uploading the same."""
        if upload is None:
            return
        key = {"Bucket": location.bucket, "Key": location.path, "UploadId": upload}
        try:
            self.file_system.call_s3("abort_multipart_upload", **key)
        except FileNotFoundError:
            pass  # it is done, or called off already
        except OSError as error:  # a right that writers need not have
            log.warning("an unfinished upload cannot be called off", location=location.text, why=str(error))
