"""Answers for the items of a list, whose errors name the item's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from server.errors import PredictionError
from server.models.fan_out import answer_all
from server.rpc.admission import explained

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from predictor.ttypes import RequestOptions

    from server.calls import Pending
    from server.clients import Client

Item = TypeVar("Item")
T = TypeVar("T")


async def answer_each(
    items: Sequence[Item],
    submit: Callable[[Item], Pending[T]],
    check: Callable[[T], object],
    field: str,
    options: RequestOptions | None,
    client: Client | None,
) -> list[T]:
    """What the model answers for each item of the argument `field`. Raises PredictionError."""
    return await explained_for(answer_all(items, submit, field, check, client=client), field, options)


async def explained_for(answers: Awaitable[T], field: str, options: RequestOptions | None) -> T:
    """Answers for the items of the argument `field`. Raises PredictionError."""
    try:
        return await answers
    except PredictionError as error:
        raise explained(error, field, options) from None


def tokens_of(requests: Sequence[Pending[bytes]]) -> int | None:
    """How many tokens the texts are together, where the model tells."""
    counts = [request.tokens for request in requests if request.tokens is not None]
    return sum(counts) if len(counts) == len(requests) else None
