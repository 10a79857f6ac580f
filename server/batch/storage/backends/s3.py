"""S3 and what speaks its protocol, through s3fs.

Credentials and endpoint are found as s3fs finds them: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from server.batch.storage.backends.backend import BLOCK_BYTES
from server.batch.storage.backends.object_store import OPTIONS, ObjectStore, library, object_path

if TYPE_CHECKING:
    from server.batch.storage.locations import Location
    from server.batch.storage.permissions import AllowedLocations

log = structlog.get_logger()


class S3Backend(ObjectStore):
    """s3fs sees to it by itself that all blocks of a file are of one version."""

    def __init__(self, _allowed: AllowedLocations) -> None:
        super().__init__(library("s3fs", "s3").S3FileSystem(**OPTIONS))

    def open(self, location: Location) -> Any:
        return self.file_system.open(object_path(location), "rb", block_size=BLOCK_BYTES, cache_type="readahead")

    def delete_leftovers(self, location: Location) -> None:
        """S3 keeps the parts of an unfinished upload until somebody calls it off."""
        s3 = self.file_system
        try:
            uploads = s3.call_s3("list_multipart_uploads", Bucket=location.bucket, Prefix=location.path)
            for upload in uploads.get("Uploads", []):
                if upload["Key"] == location.path:
                    key = {"Bucket": location.bucket, "Key": location.path, "UploadId": upload["UploadId"]}
                    s3.call_s3("abort_multipart_upload", **key)
        except OSError as error:  # a right that writers need not have, and some stores do not know such lists
            log.warning("unfinished uploads cannot be looked for", location=location.text, why=str(error))
