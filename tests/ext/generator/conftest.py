"""A model and its engine, for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.generators import Generators, random_model, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.generators import Source


@pytest.fixture(scope="module")
def reference() -> Any:
    return random_model()


@pytest.fixture(scope="module")
def source(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(reference, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shared(source: Source) -> Iterator[Generators]:
    """For tests that ask for tokens only."""
    with Generators(source) as generators:
        yield generators
