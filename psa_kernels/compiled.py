"""The attention as one operator that torch.compile does not look into.

A compiler that traces the stages breaks at kernel launches, and freezes decisions made while
tracing. As an operator with a declared output, the call is one node of the graph: `fullgraph=True`
works, and each call makes its own decisions.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import torch

from .attention import psa_attention
from .config import PSAConfig


def described(config: PSAConfig) -> str:
    """`config` as text: an operator takes only tensors, numbers and strings."""
    preset = config.to_preset()
    for name in ("blocks", "steps"):
        preset.pop(name, None)  # only hosts read these
    # JSON keys are strings; the validator reads "4" as 4
    preset["mask_ratios"] = {str(level): pair for level, pair in preset["mask_ratios"].items()}
    return json.dumps(preset)


@lru_cache(maxsize=64)
def parsed(text: str) -> PSAConfig:
    return PSAConfig.from_preset(json.loads(text))


# Written out, because torch before 2.7 cannot infer it from `list[int]` and fails at import.
SCHEMA = (
    "(Tensor q, Tensor k, Tensor v, str config, SymInt[] grid, SymInt[] extra_tokens, bool causal, "
    "float scale) -> Tensor"
)


# Operator names are unique in a process, but ComfyUI may load this package twice: as part of the
# pack and as an installed library.
_COPY = "" if __package__ == "psa_kernels" else hashlib.sha1(__package__.encode()).hexdigest()[:8]


# Keeps an operator out of the compiler's CUDA graphs, where this torch can; else empty.
UNGRAPHED = (
    {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}
)


# The orders that calls share would be made in the memory of the first graph that needs them.
@torch.library.custom_op(
    f"psa_kernels{_COPY}::attention", mutates_args=(), schema=SCHEMA, **UNGRAPHED
)
def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    config: str,
    grid: list[int],
    extra_tokens: list[int],
    causal: bool,
    scale: float,
) -> torch.Tensor:
    """`psa_attention` without state; `grid` is empty where there is none.

    The result is `[B, H, Lq, D]`, a view of `[B, Lq, H, D]` memory, whichever implementation ran.
    """
    out = psa_attention(
        q, k, v, config=parsed(config), grid=tuple(grid) or None,
        extra_tokens=tuple(extra_tokens), causal=causal, scale=scale,
    )  # fmt: skip
    return out.transpose(1, 2).contiguous().transpose(1, 2)


@attention.register_fake
def _(q, k, v, config, grid, extra_tokens, causal, scale):
    batch, heads, length, dim = q.shape
    return q.new_empty(batch, length, heads, dim).transpose(1, 2)
