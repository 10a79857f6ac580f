"""Errors that have been told, and what they keep alive."""

from __future__ import annotations


def forget_frames(*errors: BaseException) -> None:
    """Let go of the frames in which the errors were raised, and those behind them: nobody needs to know any more.

    A frame that has the error for a variable is part of a circle, which keeps a request's body until the garbage is
    collected, and that takes as many requests as it takes.
    """
    for error in errors:
        behind: BaseException | None = error
        while behind is not None:
            behind.__traceback__ = None
            following = behind.__context__
            behind.__context__ = behind.__cause__ = None
            behind = following
