"""One self-attention layer of a LightX2V model. Source: LightX2V of 21 August 2026 (f8aee98)."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import torch

from ..core.attention_call import AttentionCall, gradients_asked
from ..core.deciding import Asked, AttentionCalls
from ..core.token_grid import TokenGrid
from ..core.uncompiled import uncompiled
from .runs import runs_of
from .settings import DENSE_TYPE

log = logging.getLogger("PSA")

# arguments beside q, k and v that do not change the result
_HARMLESS = {
    "block_idx", "scheduler", "grid_sizes", "cu_seqlens_q", "cu_seqlens_kv", "max_seqlen_q",
    "max_seqlen_kv", "softmax_scale", "scale", "model_cls",
}  # fmt: skip


class PSAAttention:
    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self._dense: dict[str, Any] = {}
        self._place: tuple | None = None  # (step, condition, block) of the last call
        self._calls = 0  # earlier calls in the same place: none, or one for each head

    @uncompiled
    def apply(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """q, k, v `[T, H, D]`: all tokens of this GPU's heads. Returns `[T, H * D]`."""
        scheduler = options.get("scheduler")
        if scheduler is None:  # which knows the settings and the step
            return self.dense(DENSE_TYPE, q, k, v, options)
        runs = runs_of(scheduler)
        run, step = runs.of_call(scheduler)
        condition = bool(getattr(scheduler, "infer_condition", True))
        # if weights are loaded block by block, several blocks share one object
        place = step, condition, options.get("block_idx")
        self._calls = self._calls + 1 if place == self._place else 0
        self._place = place
        key = condition, id(self), options.get("block_idx"), self._calls
        grid = _grid(options.get("grid_sizes"), q.shape[0], _ranks())
        if grid is not None and run.grid is None:
            run.grid = grid.grid, 0
        calls = AttentionCalls(run, grid, step, key)
        asked = _Asked(self, runs.settings.dense_type, q, k, v, options)
        out = calls.attend(asked)
        if calls.spoiled():  # from here the model's call cannot be repeated, but this one can
            out = asked.dense()
        if step == len(run.schedule.steps) - 1:
            run.forget(key)
        return out

    def dense(
        self, name: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        if name not in self._dense:
            registry = sys.modules["lightx2v.utils.registry_factory"].ATTN_WEIGHT_REGISTER
            if name not in registry or name == "psa":
                known = ", ".join(sorted(set(registry) - {"psa"}))
                raise ValueError(f"psa_setting.dense_type: found {name!r}. Fix: use one of {known}")
            self._dense[name] = registry[name]()
        return self._dense[name].apply(q, k, v, **options)


def _ranks() -> int:
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _grid(sizes: Any, tokens: int, ranks: int) -> TokenGrid | None:
    """The video, then the padding that gives all ranks the same number of tokens; the model attends
    to it as to any token. None if there are other tokens beside the video."""
    if sizes is None:
        return None
    sizes = tuple(int(size) for size in sizes)
    filling = tokens - math.prod(sizes)
    if len(sizes) != 3 or not 0 <= filling < max(1, ranks):
        return None
    return TokenGrid(sizes, (1, 2, 2), after=filling)


class _Asked(Asked):
    def __init__(
        self, attention: PSAAttention, dense_type: str, q: torch.Tensor, k: torch.Tensor,
        v: torch.Tensor, options: dict[str, Any],
    ):  # fmt: skip
        self.attention, self.dense_type = attention, dense_type
        self.q, self.k, self.v, self.options = q, k, v, options
        self.device = q.device

    def dense(self) -> torch.Tensor:
        return self.attention.dense(self.dense_type, self.q, self.k, self.v, self.options)

    def read(self) -> AttentionCall | str:
        tensors = self.q, self.k, self.v
        if not all(x.dim() == 3 and x.numel() for x in tensors):
            return "unknown call signature"
        scale = self.options.get("softmax_scale", self.options.get("scale"))
        q, k, v = (x.transpose(0, 1)[None] for x in tensors)
        return _Call(q, k, v, scale, self.options.get("block_idx"), _cannot(self.options, *tensors))


class _Call(AttentionCall):
    def join_heads(self, out: torch.Tensor) -> torch.Tensor:
        return out[0].transpose(0, 1).flatten(1)


def _cannot(options: dict[str, Any], *tensors: torch.Tensor) -> str | None:
    """Why PSA cannot serve a call with these options, or None."""
    if options.get("attn_mask") is not None or options.get("causal"):
        return "masked attention"
    if options.get("drop_rate"):
        return "dropout"
    lengths = (options.get("cu_seqlens_q"), options.get("cu_seqlens_kv"))
    if any(x is not None and len(x) > 2 for x in lengths):
        return "several sequences in one"
    if reason := gradients_asked(*tensors):
        return reason
    known = _HARMLESS | {"attn_mask", "causal", "drop_rate"}
    unknown = sorted(
        name for name, value in options.items()
        if name not in known and value is not None and value is not False
    )  # fmt: skip
    return f"unknown option {unknown[0]}" if unknown else None
