"""A call without options, and one with empty ones, are the same."""

from __future__ import annotations

from predictor.ttypes import GenerationOptions

from server.models.sampling import sampling_of


def test_no_options_are_the_defaults_of_the_table() -> None:
    assert sampling_of(None, 1024)._replace(seed=0) == sampling_of(GenerationOptions(), 1024)._replace(seed=0)
