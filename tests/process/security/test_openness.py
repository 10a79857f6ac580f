"""Who reaches a port."""

from __future__ import annotations

import pytest

from process.security.openness import OpenError, is_open


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_this_machine_alone(host: str) -> None:
    assert not is_open([host], insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "predictor.example"])
def test_others_too(host: str) -> None:
    with pytest.raises(OpenError, match="--insecure"):
        is_open(["127.0.0.1", host], insecure=False)
    assert is_open([host], insecure=True)
