"""The places that jobs read from and write to: object stores as processes of their own, and buckets in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stores import GcsBucket, S3Bucket, gcs_server, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import Bucket


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """moto's S3 server."""
    with s3_server() as port:
        yield port


@pytest.fixture(scope="session")
def gcs_port() -> Iterator[int]:
    """The emulator of Google Cloud Storage."""
    with gcs_server() as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    """A new bucket; this process and its children find its server."""
    bucket = S3Bucket(s3_port)
    _let_find(bucket, monkeypatch)
    return bucket


@pytest.fixture
def gcs(gcs_port: int, monkeypatch: pytest.MonkeyPatch) -> GcsBucket:
    """A new bucket; this process and its children find its server."""
    bucket = GcsBucket(gcs_port)
    _let_find(bucket, monkeypatch)
    return bucket


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A new bucket in either store."""
    new: Bucket = request.getfixturevalue(request.param)
    return new


def _let_find(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
