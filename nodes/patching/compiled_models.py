"""PSA on a model that torch.compile traces.

Only a process that compiles has torch._dynamo loaded; importing it for the others takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .option_names import CALL, OVERRIDE


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
    from .compiled_call import served, serving

    own = {**options, OVERRIDE: served, CALL: override}
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with serving(own):
            yield own
    finally:
        torch.set_autocast_cache_enabled(cached)


def on_top(override: Callable, options: Any) -> bool:
    """Whether a call with these transformer options asks `override` before all others."""
    if not isinstance(options, dict):
        return False
    asked = options.get(OVERRIDE)
    traced = sys.modules.get(f"{__package__}.compiled_call")
    return asked is override or (traced is not None and asked is traced.served)


def _compiling() -> bool:
    return "torch._dynamo" in sys.modules
