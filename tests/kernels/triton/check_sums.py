"""Sums of values in float16 (section 6e), whatever the values are: for `sweep.py` and a GPU."""

from __future__ import annotations

import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.stages import Orders

from . import check

CONFIG = PSAConfig(
    block_n=32, tile_n=16, tail=16, second_moment=True, use_rearrange=False, value_sums="float16",
    mask_ratios={1: (0, 0.4), 8: (0.4, 0.7), 0: (0.7, 1)},
)  # fmt: skip
# of a head's values; 64 of those from 1024 on have no sum in float16
SIZES = {torch.float16: (0.0, 0.01, 1e4, 65504.0), torch.bfloat16: (0.0, 1e-30, 1e4, 1e30)}
SPOILT = (torch.nan, torch.inf, -torch.inf)
SCALE = 0.25


def made(dtype, device, heads, dim=16):
    """q, k and v of 78 tokens, 7 of them extra; values do not cancel."""
    q, k, v = torch.randn(3, 1, heads, 78, dim, generator=torch.Generator().manual_seed(0))
    return q.to(device, dtype), k.to(device, dtype), (1 - v.abs() / 8).to(device, dtype)


def check_values(device, dtype=torch.float16):
    """Heads of one call: each near its own values, however large. NaN and Inf arrive in all
    queries of their head, in their channel and in no other."""
    sizes = SIZES[dtype]
    q, k, v = made(dtype, device, len(sizes))
    for head, size in enumerate(sizes):
        v[:, head] *= size
    plan, out = served(q, k, v)
    exact = reference.build_pyramid(k.float(), v.float(), Orders(), plan.layout, CONFIG)
    wanted = check.rounded_attend(q, exact, plan, Orders(), plan.layout, CONFIG, SCALE)
    limit = max(3 * check.UNIT[dtype], 4 * check.UNIT[torch.float16])  # as in `check`
    for head in range(len(sizes)):
        error = (out[:, head].float() - wanted[:, head]).norm()
        assert error <= limit * wanted[:, head].norm(), (sizes[head], error)
    # one head a call: a tile past the end of a head's rows reads those of the next, under weight 0
    for spoil in SPOILT:
        q, k, v = made(dtype, device, 1)
        v[:, :, 40, 3] = spoil
        _, out = served(q, k, v)
        spoilt = torch.zeros_like(out, dtype=torch.bool)
        spoilt[..., 3] = True
        assert torch.equal(~out.isfinite(), spoilt), spoil


def served(q, k, v):
    """(plan, out) of the kernels."""
    layout = Layout.of(q, k, v, CONFIG, extra_tokens=(0, 7))
    _, _, plan, out = check.run(q, k, v, CONFIG, layout, Orders(), SCALE)
    return plan, out


def check_huge_logits(device, dtype=torch.float16):
    """Past 2^23 a logit differs from the largest by more than a weight has room for."""
    for qk in ("half", "int8"):
        q, k, v = made(dtype, device, 1, dim=32)
        check.finite(100 * q, 100 * k, v, CONFIG.replace(qk=qk, block_n=64), scale=1e5)
