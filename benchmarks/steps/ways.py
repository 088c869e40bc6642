"""Ways to serve a model's self-attention, each a patch of a `ModelPatcher`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..dense_peers import flash_3_module
from ..sparse_peers import kitchen

OVERRIDE = "optimized_attention_override"


@dataclass
class Way:
    """name    as in the table
    patch   ModelPatcher -> ModelPatcher, with its attention served this way
    exact   whether it computes dense attention, with any kernel
    served  self-attention calls that it served; None where nothing counts them
    report  of the last run, for PSA
    """

    name: str
    patch: Callable[[Any], Any]
    exact: bool = False
    served: list[int] | None = None
    reports: list[dict] = field(default_factory=list)


def dense_ways() -> list[Way]:
    return [
        Way("ComfyUI's own (attention_pytorch)", lambda model: model.clone(), exact=True),
        _overriding("SDPA, cuDNN kernel", _cudnn, exact=True),
        _overriding("FlashAttention-3, which ComfyUI does not offer", _fa3, exact=True),
    ]


def sparse_peers(taus: tuple[float, ...] = (1.0, 2.0)) -> list[Way]:
    """comfy-kitchen's sparse attention, called as ComfyUI's own sparse node calls it."""
    return [_overriding(f"comfy-kitchen sol_attn tau {tau:g}", _sol(tau)) for tau in taus]


def psa(name: str, config: Any) -> Way:
    """The patch of the Apply PSA node, without warm-up."""
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue

    preset = PresetValue(config.replace(warmup_steps=0), name=name)
    way = Way(f"PSA, {name}", lambda model: model)
    way.patch = lambda model: apply_psa(model, preset, PatchOptions(), way.reports.append)
    return way


def _overriding(name: str, attend: Callable, exact: bool = False) -> Way:
    """`attend` takes and gives `[B, L, H, D]`; other calls than self-attention are left alone."""
    served = [0]

    def override(func: Callable, q, k, v, heads, *args, **kwargs):
        if q.shape != k.shape:
            return func(q, k, v, heads, *args, **kwargs)
        served[0] += 1
        split = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
        return attend(*split).flatten(2)

    def patch(model):
        served[0] = 0
        model = model.clone()
        model.model_options["transformer_options"][OVERRIDE] = override
        return model

    return Way(name, patch, exact, served)


def _cudnn(q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _fa3(q, k, v):
    out = flash_3_module().flash_attn_func(q, k, v)
    return out[0] if isinstance(out, tuple) else out


def _sol(tau: float) -> Callable:
    return lambda q, k, v: kitchen("sol_attn")(q, k, v, tau=tau)
