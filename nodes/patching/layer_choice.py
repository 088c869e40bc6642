"""The attention function that a layer of a model prefers, as a quantised checkpoint may say.

Newer versions of ComfyUI take that choice out of a call before they ask an override, and heed it
only where there is none. A call that PSA leaves dense is to run what would have run without PSA.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .compiled_models import on_top
from .option_names import PREFERRED

_MOST_FRAMES = 12  # from ComfyUI's wrapper to here: one, or some of torch.compile's


def own_attention(func: Callable, override: Any, options: Any) -> Callable:
    """What a call runs that has no override: the layer's choice, or `func`, which was asked for.

    override  PSA's, which nothing may lie over: an override of another pack is asked with `func`,
              whatever the layer prefers
    options   the call's transformer options
    """
    if override.previous is not None or not on_top(override, options):
        return func
    frame = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if PREFERRED in frame.f_code.co_varnames:
            found = frame.f_locals
            if found.get("func") is func:
                return getattr(found.get(PREFERRED), "function", None) or func
        frame = frame.f_back
    return func
