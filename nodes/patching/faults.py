"""What is told of an error inside PSA, and how its memory comes back at once."""

from __future__ import annotations

import logging
import traceback

import comfy.model_management

log = logging.getLogger("PSA")

# Older versions of ComfyUI derive it from Exception, where `except Exception` would swallow it.
Interrupt = comfy.model_management.InterruptProcessingException


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def told(error: BaseException) -> str:
    """Its traceback as text.

    A record with `exc_info` would keep the frames, and so the tensors of the failed call, for as
    long as any log handler keeps the record.
    """
    return "".join(traceback.format_exception(error)).rstrip()


def let_go(error: BaseException) -> None:
    """Gives back the memory of what failed: the dense attention that comes next needs it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        # the tensors of the failed call are locals of its frames
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    try:
        comfy.model_management.soft_empty_cache()
    except Exception as failed:  # a device in a state that only its next real call can tell of
        log.warning("PSA could not free cached memory (%s)", one_line(failed))
