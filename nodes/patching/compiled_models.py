"""PSA on a model that torch.compile traces.

Only a process that compiles has torch._dynamo loaded; importing it for the others takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

OVERRIDE = "optimized_attention_override"


@contextmanager
def traceable(override: Callable, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Transformer options whose attention calls `override` serves, in compiled code as well.

    Model calls in here meet no graph that was compiled without PSA: ComfyUI's compile node drops
    the guards on transformer options, so that a graph of a run without an override would serve a
    run with one. The state of autocast is always guarded, and its cache does nothing while autocast
    is off, as it is in ComfyUI.
    """
    if not _compiling():
        yield {**options, OVERRIDE: override}
        return
    from .traced_call import CALL, served, serving

    own = {**options, OVERRIDE: served, CALL: override}
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with serving(own):
            yield own
    finally:
        torch.set_autocast_cache_enabled(cached)


def _compiling() -> bool:
    return "torch._dynamo" in sys.modules
