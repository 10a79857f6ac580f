"""Both clients behind one face, and a server with a model for every method."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from predictor_client import AsyncClient, Client
from tests.support import everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.service import Service
    from tests.support.shared import SharedFiles


class Asker:
    """Makes calls as a program of threads does, or one of asyncio."""

    def __init__(self, address: str, *, is_async: bool, **options: Any) -> None:
        self._is_async = is_async
        if is_async:
            self._loop = asyncio.new_event_loop()
            self.client: Any = self._loop.run_until_complete(self._made(address, options))
        else:
            self.client = Client(address, **options)

    @staticmethod
    async def _made(address: str, options: dict[str, Any]) -> AsyncClient:
        return AsyncClient(address, **options)

    def done(self, result: Any) -> Any:
        """The result, awaited where it has to be."""
        return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A method of the client."""
        method = getattr(self.client, name)
        return lambda *arguments, **options: self.done(method(*arguments, **options))

    def chunks(self, stream: Any, most: int = 1 << 30) -> list[Any]:
        """The first so many chunks of a stream, which is then left by the end of its with block."""
        return self.done(self._async_chunks(stream, most)) if self._is_async else self._chunks(stream, most)

    def _chunks(self, stream: Any, most: int) -> list[Any]:
        chunks = []
        with stream:
            for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == most:
                    break
        return chunks

    async def _async_chunks(self, stream: Any, most: int) -> list[Any]:
        chunks = []
        async with stream:
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == most:
                    break
        return chunks

    def end(self) -> None:
        """Close it."""
        if self._is_async:
            self.done(self.client.aclose())
            self._loop.run_until_complete(asyncio.sleep(0.01))
            self._loop.close()
        else:
            self.client.close()


@pytest.fixture(scope="package")
def batch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs may read and write."""
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="package")
def served(shared_files: SharedFiles, zoo: Callable[[str], Path], batch_folder: Path) -> Iterator[Service]:
    with everything.service(shared_files, zoo, batch_folder, "--no-rest") as running:
        yield running


@pytest.fixture(params=["blocking", "asynchronous"])
def asker(request: pytest.FixtureRequest) -> Iterator[Callable[..., Asker]]:
    """asker(address, option=value): a client of either kind, closed at the test's end."""
    made: list[Asker] = []

    def make(address: str, **options: Any) -> Asker:
        made.append(Asker(address, is_async=request.param == "asynchronous", **options))
        return made[-1]

    yield make
    for each in made:
        each.end()
