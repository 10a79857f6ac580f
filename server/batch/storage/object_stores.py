"""Google Cloud Storage and S3, through fsspec's gcsfs and s3fs.

Credentials and endpoints are found as each library finds them: GOOGLE_APPLICATION_CREDENTIALS, STORAGE_EMULATOR_HOST;
AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, ...
"""

from __future__ import annotations

import importlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from server.batch.storage.files import BLOCK_BYTES, RangeFile, StorageError, changed

if TYPE_CHECKING:
    from server.batch.storage.locations import Location

_EXTRAS = {"gs": "gcsfs", "s3": "s3fs"}

log = structlog.get_logger(__name__)


class ObjectStore:
    """A Store of objects in buckets."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._store = _file_system(scheme)

    def below(self, location: Location) -> list[tuple[str, int]]:
        prefix = f"{location.bucket}/{location.path}"
        found = self._store.find(prefix.rstrip("/"), detail=True)
        return [
            (name.removeprefix(prefix), info["size"])
            for name, info in found.items()
            # not "in/ab" for "in/a/", nor the empty objects that stand for folders
            if name.startswith(prefix) and name != prefix and not name.endswith("/") and info["type"] == "file"
        ]

    def size(self, location: Location) -> int:
        return int(self._file_info(location)["size"])

    def open(self, location: Location) -> Any:
        path = _path(location)
        if self._scheme == "s3":  # s3fs sees to it by itself that all blocks are of one version
            return self._store.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        info = self._file_info(location)
        return RangeFile(partial(self._fetch, location, info["generation"]), int(info["size"]))

    def _file_info(self, location: Location) -> Any:
        info = self._store.info(_path(location))
        if info["type"] != "file":
            raise FileNotFoundError(location.text)
        return info

    def _fetch(self, location: Location, generation: str, start: int, end: int) -> bytes:
        try:
            data: bytes = self._store.cat_file(_path(location), start=start, end=end, generation=generation)
        except FileNotFoundError:
            raise changed(location.text) from None
        return data

    def create(self, location: Location) -> Upload:
        return Upload(self._store.open(_path(location), "wb", block_size=BLOCK_BYTES, autocommit=False))

    def delete_leftovers(self, location: Location) -> None:
        if self._scheme != "s3":
            return  # GCS forgets unfinished uploads by itself, after a week, and lists them to nobody
        try:
            uploads = self._store.call_s3("list_multipart_uploads", Bucket=location.bucket, Prefix=location.path)
            for upload in uploads.get("Uploads", []):
                if upload["Key"] == location.path:
                    key = {"Bucket": location.bucket, "Key": location.path, "UploadId": upload["UploadId"]}
                    self._store.call_s3("abort_multipart_upload", **key)
        except OSError as error:  # a right that writers need not have, and some stores do not know such lists
            log.warning("unfinished uploads cannot be looked for", location=location.text, why=str(error))


class Upload:
    """An upload in parts, completed by commit."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        if self._file.offset is None:  # nothing was sent yet: all of it at once, which appears whole too
            self._file.autocommit = True
            self._file.close()
        else:
            self._file.close()  # sends what is buffered
            self._file.commit()

    def discard(self) -> None:
        try:
            self._file.discard()
        except Exception as error:  # without its last call no upload appears: no more to do
            log.debug("an upload could not be called off", why=str(error))
        self._file.closed = True  # else its finalizer would go on with the upload


def _path(location: Location) -> str:
    return f"{location.bucket}/{location.path}"


def _file_system(scheme: str) -> Any:
    """A file system of its own: fsspec's shared ones belong to one thread each, and remember listings."""
    try:
        module = importlib.import_module("gcsfs.core" if scheme == "gs" else "s3fs")
    except ImportError as error:
        package = _EXTRAS[scheme]
        how = f"`make setup-stores`, or pip install 'predictor-service[{scheme}]'"
        message = f"{scheme}:// needs the package {package}: {how} ({error})"
        raise StorageError(message) from None
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        return module.S3FileSystem(**options)
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        options["token"] = "anon"
    # not gcsfs's default class, which asks Google over gRPC what kind of bucket it is, emulator or not
    return module.GCSFileSystem(**options)
