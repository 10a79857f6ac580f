"""The schemes that a location may have. Adding one is a row here, and its module in backends/."""

from __future__ import annotations

from typing import NamedTuple


class Scheme(NamedTuple):
    """A kind of location that is not local."""

    name: str
    backend: str
    """Module in backends/ and the Backend in it; imported at the first use, as most servers need none of them."""
    is_url: bool = False
    """SCHEME://HOST/PATH?QUERY with percent-encoding; else SCHEME://BUCKET/KEY."""
    writable: bool = True
    control_characters: bool = False
    """Names may have them, newlines too."""


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("gs", "gcs:GcsBackend"),
        Scheme("s3", "s3:S3Backend", control_characters=True),
        Scheme("http", "http:HttpBackend", is_url=True, writable=False),
        Scheme("https", "http:HttpBackend", is_url=True, writable=False),
    )
}
