"""Looking at a dense run's self-attention: q, k, v of every layer and step, as they pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

KEY = "psa_quality_watch"
OVERRIDE = "optimized_attention_override"
POSITIVE = 0  # ComfyUI's number of the positive condition in `cond_or_uncond`


@dataclass(frozen=True)
class Seen:
    """One self-attention call for the positive condition. q, k, v are views `[1, H, L, D]`."""

    step: int
    layer: int
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor


def watched(model: Any, visit: Callable[[Seen], None]) -> Any:
    """A clone of a `ModelPatcher` that shows each self-attention call to `visit`.

    The call itself is served as without. Meant for one run with one model call a step (euler).
    """
    import comfy.patcher_extension

    clone = model.clone()
    sigmas: list[float] = []

    def wrapper(executor, *args, **kwargs):
        options = next(
            x for x in (*args, *kwargs.values()) if isinstance(x, dict) and "sigmas" in x
        )
        sigma = float(options["sigmas"].max())
        if sigma not in sigmas:
            sigmas.append(sigma)
        options[OVERRIDE] = _override(visit, sigmas.index(sigma), options["cond_or_uncond"])
        return executor(*args, **kwargs)

    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    clone.remove_wrappers_with_key(kind, KEY)
    clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def _override(visit: Callable[[Seen], None], step: int, conditions: list[int]) -> Callable:
    from psa_pack.nodes.patching.attention_call import AttentionCall

    layer = 0

    def override(func, *args, **kwargs):
        nonlocal layer
        call = AttentionCall.read(args, kwargs)
        queries, keys = call.tokens
        if queries == keys:
            if POSITIVE in conditions:
                row = conditions.index(POSITIVE)
                q, k, v = (x[row : row + 1] for x in call.split_heads())
                visit(Seen(step, layer, q, k, v))
            layer += 1
        return func(*args, **kwargs)

    return override
