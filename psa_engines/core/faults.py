"""Errors inside PSA: their text, and the memory that they hold."""

from __future__ import annotations

import traceback


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def traceback_text(error: BaseException) -> str:
    """The traceback as text.

    A record with `exc_info` would keep the frames, and so the tensors of the failed call, for as
    long as any log handler keeps the record.
    """
    return "".join(traceback.format_exception(error)).rstrip()


def clear_frames(error: BaseException | None) -> None:
    """Lets go of the failed call's tensors, which are locals of its frames."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
