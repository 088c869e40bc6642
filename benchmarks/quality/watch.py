"""A look at the self-attention of a dense run: q, k, v of every layer and step."""

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

    The call is served as usual. For one run, of a sampler that calls the model once a step (euler).
    """
    step_of = _counted()

    def begin(options: dict) -> Callable:
        step, conditions, layer = step_of(options), options["cond_or_uncond"], 0

        def serve(call, func: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
            nonlocal layer
            if POSITIVE in conditions:
                row = conditions.index(POSITIVE)
                q, k, v = (x[row : row + 1] for x in call.split_heads())
                visit(Seen(step, layer, q, k, v))
            layer += 1
            return func(*args, **kwargs)

        return serve

    return _overridden(model, begin)


def replaced(model: Any, attend: Callable, warm_up: int) -> Any:
    """A clone whose self-attention after `warm_up` steps is `attend(q, k, v)`, for one row of the
    batch at a time: all `[1, H, L, D]`, the output too. For one run, as `watched`."""
    step_of = _counted()

    def begin(options: dict) -> Callable:
        sparse = step_of(options) >= warm_up

        def serve(call, func: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
            if not sparse:
                return func(*args, **kwargs)
            tensors = call.split_heads()
            rows = [attend(*(x[i : i + 1] for x in tensors)) for i in range(len(tensors[0]))]
            return call.join_heads(torch.cat(rows).to(call.q.dtype))

        return serve

    return _overridden(model, begin)


def _counted() -> Callable[[dict], int]:
    """Transformer options -> their step, from 0, in one run."""
    sigmas: list[float] = []

    def step_of(options: dict) -> int:
        sigma = float(options["sigmas"].max())
        if sigma not in sigmas:
            sigmas.append(sigma)
        return sigmas.index(sigma)

    return step_of


def in_finer_precision(model: Any) -> Any:
    """A clone whose self-attention is computed in float64 on a CPU, in float32 on a GPU.

    It is still dense attention: only rounding changes, and what sampling makes of it.
    """

    def serve(call, func: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
        dtype = torch.float32 if call.q.is_cuda else torch.float64
        q, k, v = (x.to(dtype) for x in call.split_heads())
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=call.scale)
        return call.join_heads(out.to(call.q.dtype))

    return _overridden(model, lambda options: serve)


def _overridden(model: Any, begin: Callable[[dict], Callable]) -> Any:
    """A clone that has its self-attention served by `begin(transformer options)`, called for
    each call of the model: (call, func, args, kwargs) -> output."""
    import comfy.patcher_extension

    from psa_pack.nodes.patching.attention_call import AttentionCall

    def wrapper(executor, *args, **kwargs):
        values = (*args, *kwargs.values())
        options = next(x for x in values if isinstance(x, dict) and "sigmas" in x)
        serve = begin(options)

        def override(func, *call_args, **call_kwargs):
            call = AttentionCall.read(call_args, call_kwargs)
            queries, keys = call.tokens
            if queries != keys:
                return func(*call_args, **call_kwargs)
            return serve(call, func, call_args, call_kwargs)

        options[OVERRIDE] = override
        return executor(*args, **kwargs)

    clone = model.clone()
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    clone.remove_wrappers_with_key(kind, KEY)
    clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone
