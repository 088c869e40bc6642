"""PSA in a model whose memory or work ComfyUI records, to repeat it in the next step.

Newer versions of ComfyUI record the memory that a model's forward pass takes, a block at a time, as
a pattern that has to repeat (the Comfy Compiler), and may record a block's work as a CUDA graph.
PSA's memory differs from step to step, and some of it stays; so do its decisions.
Source: comfy/model_prefetch.py of ComfyUI 0.34 to 0.38.1.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.patcher_extension
import torch

from ...psa_engines.core.faults import one_line
from .layer_choice import own_attention

log = logging.getLogger("PSA")

IN_CUDA_GRAPH = "recorded as a CUDA graph"


def unrecorded(call: Callable) -> Callable:
    """`call`, whose memory is no part of the recorded pattern."""

    @functools.wraps(call)
    def paused(*args: Any, **kwargs: Any) -> Any:
        # whatever records has loaded it; older versions have no such module, or one without a pause
        recording = sys.modules.get("comfy.model_prefetch")
        if not hasattr(recording, "pause_malloc_graph"):
            return call(*args, **kwargs)
        with _pause(recording):
            return call(*args, **kwargs)

    return paused


class LeftAlone:
    """An override that changes nothing, for a model call between others that PSA looks at."""

    def __init__(self, previous: Callable | None):
        self.previous = previous

    @unrecorded
    def __call__(self, func: Callable, *args: Any, **kwargs: Any) -> Any:
        func = own_attention(func, self, kwargs.get("transformer_options"))
        if self.previous is not None:
            return self.previous(func, *args, **kwargs)
        return func(*args, **kwargs)


@contextmanager
def _pause(recording: Any) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(recording.pause_malloc_graph())
            stack.enter_context(_outermost(recording))
        except Exception as error:  # another interface, or a recording that has failed already
            log.warning(
                "PSA cannot keep its memory out of ComfyUI's recording: %s. Fix: start "
                "ComfyUI with --disable-comfy-compiler",
                one_line(error),
            )
        yield


@contextmanager
def _outermost(recording: Any) -> Iterator[None]:
    """A pause that lasts, whatever pauses in here.

    ComfyUI's pauses do not nest: attention that pauses by itself, as the int8 kernels do, would end
    this one too. An inactive recording ignores them.
    """
    graph = getattr(recording, "MALLOC_GRAPHS", {}).get(threading.get_ident())
    if not getattr(graph, "_comfy_active", False):
        yield  # nothing is recorded, this is inside of a pause of ours, or another version
        return
    graph._comfy_active = False
    try:
        yield
    finally:
        graph._comfy_active = True


def in_cuda_graph(device: torch.device | None) -> bool:
    """Whether a call made now becomes part of a CUDA graph, whose replays ask PSA no more."""
    cuda = device is not None and device.type == "cuda"
    return cuda and torch.cuda.is_current_stream_capturing()


def asked_each_time(options: dict[str, Any]) -> dict[str, Any]:
    """A model call's transformer options, with which ComfyUI replays no graph of a block.

    It does so only for blocks whose weights it fetches ahead, which this takes off: by a wrapper,
    since ComfyUI sets the option itself once the call has begun.
    """
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    wrappers = options.get("wrappers") or {}
    own = {**wrappers.get(kind, {}), "psa_no_graphs": [_fetch_nothing_ahead]}
    return {**options, "wrappers": {**wrappers, kind: own}}


def _fetch_nothing_ahead(executor: Any, *args: Any, **kwargs: Any) -> Any:
    for value in (*args, *kwargs.values()):
        if isinstance(value, dict) and "sigmas" in value:
            value["prefetch_dynamic_vbars"] = False
    return executor(*args, **kwargs)
