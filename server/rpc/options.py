"""Options of single methods, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process.options import MAX_REPLIES, THRESHOLD
from server.errors import invalid_argument
from server.models.requests import ReplyFilter

if TYPE_CHECKING:
    from predictor.ttypes import EmbedOptions, ReplyOptions

_ALL_REPLIES = ReplyFilter()


def reply_filter(options: ReplyOptions | None) -> ReplyFilter:
    """Which replies the call asks for. Raises INVALID_ARGUMENT."""
    if options is None:
        return _ALL_REPLIES
    for option, value in ((MAX_REPLIES, options.max_replies), (THRESHOLD, options.threshold)):
        if value is not None and (wrong := option.wrong(value)):
            raise invalid_argument(wrong, field=f"reply_options.{option.name}")
    return ReplyFilter(options.max_replies, options.threshold)


def truncates(options: EmbedOptions | None) -> bool:
    """Whether a text over the model's limit is cut."""
    return options is None or options.truncate is not False
