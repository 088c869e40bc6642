"""The attention override of one model call: ComfyUI's way to the core that decides.

It never raises for a call that the unpatched model would have served: it steps aside, with a
reason, to whatever attention was there before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ...psa_engines.core.deciding import Asked, AttentionCalls
from ...psa_engines.core.token_grid import TokenGrid
from ..recording.dense_call import DenseCall
from .attention_call import AttentionCall
from .layer_choice import own_attention
from .recorded_models import IN_CUDA_GRAPH, in_cuda_graph, unrecorded
from .run import Run


class _Asked(Asked):
    """func, previous, args, kwargs: as the override was called, see `AttentionOverride`."""

    def __init__(
        self, run: Run, func: Callable, previous: Callable | None, args: tuple, kwargs: dict
    ):
        self.run, self.func, self.previous = run, func, previous
        self.args, self.kwargs = args, kwargs
        self.device = _device(args, kwargs)
        self.redo = partial(DenseCall.of, func, previous, args, kwargs)

    def read(self) -> AttentionCall | str:
        if in_cuda_graph(self.device):
            self.run.met_cuda_graph()
            self.device = None  # events of a graph cannot be read
            return IN_CUDA_GRAPH
        return AttentionCall.read(self.args, self.kwargs) or "unknown call signature"

    def dense(self) -> torch.Tensor:
        if self.previous is not None:
            return self.previous(self.func, *self.args, **self.kwargs)
        return self.func(*self.args, **self.kwargs)

    def met_video(self) -> None:
        self.run.video_call(self.func, self.previous)

    def left_dense(self, call: AttentionCall, grid: TokenGrid) -> None:
        self.run.ahead.saw(call, grid, self.block)


class AttentionOverride(AttentionCalls):
    """Serves the attention calls of one call of the model, see `AttentionCalls`.

    previous  the override that was on the model without PSA, if any

    It has no `container_function`: newer versions of ComfyUI then empty their tensor containers for
    it. Served as containers, q, k and v could be freed early, and a call in which PSA fails would
    have nothing left for the model's own attention.
    """

    run: Run

    def __init__(
        self, run: Run, token_grid: TokenGrid | None, step: int | None, key: Any,
        previous: Callable | None, goes_on: bool = True,
    ):  # fmt: skip
        super().__init__(run, token_grid, step, key, goes_on)
        self.previous = previous

    @unrecorded
    def __call__(self, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        func = own_attention(func, self, kwargs.get("transformer_options"))
        return self.attend(_Asked(self.run, func, self.previous, args, kwargs))


def _device(args: tuple, kwargs: dict) -> torch.device | None:
    """Where a call runs, whatever its signature."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            return value.device
    return None
