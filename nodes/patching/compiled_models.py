"""PSA on a model that torch.compile traces.

Only a process that compiles has torch._dynamo loaded; importing it for the others takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def untraced(override: Callable) -> Callable:
    """`override`, called from compiled code but never part of it.

    A traced one would freeze its first decision into the graph.
    """
    return torch.compiler.disable(override) if _compiling() else override


@contextmanager
def own_graphs() -> Iterator[None]:
    """Model calls in here meet no graph that was compiled without PSA.

    ComfyUI's compile node drops the guards on transformer options, so that a graph of a run without
    an override would serve a run with one. The state of autocast is always guarded, and its cache
    does nothing while autocast is off, as it is in ComfyUI.
    """
    if not _compiling():
        yield
        return
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


def _compiling() -> bool:
    return "torch._dynamo" in sys.modules
