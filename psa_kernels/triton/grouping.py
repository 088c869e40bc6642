"""Stage 2: puts like keys of each block together (section 3b); the CPU side."""

from __future__ import annotations

from itertools import pairwise

import torch
import triton
import triton.language as tl

from ..config import PSAConfig
from ..layout import Layout, row_width
from ..reference.grouping import channel_weights, finest_group
from ..stages import Groups, Orders
from . import tuning
from .common import order_args
from .grouping_kernel import bisect_kernel, power_kernel, scales_kernel

TILE = 128  # tokens per program
ROUNDS = 2  # of power iteration: half of the reference's (benchmarks/NOTES.md)
SMALL_SET = 32  # tokens: sets of this size and smaller have a launch of their own
CHUNK = 1024  # queries per program
# the two scales are means over all blocks; every eighth block is accurate enough
EVERY = 8


@torch.no_grad()
def group_keys(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, orders: Orders, layout: Layout,
    config: PSAConfig,
) -> Groups:  # fmt: skip
    """The groups of k and v `[B, Hkv, Lk, D]`, for queries q `[B, H, Lq, D]`, of any strides."""
    batch, heads, dim = layout.batch, layout.kv_heads, layout.head_dim
    whole = layout.k_video // layout.n * layout.n
    power = _mean_squares(q, layout)
    places = torch.empty(batch, heads, whole, dtype=torch.uint8, device=k.device)
    if places.numel():
        order, order_b, order_h, ordered = order_args(orders.k, k)
        inputs = k, *k.stride(), v, *v.stride(), order, order_b, order_h
        factors = _factors(inputs, power, ordered, layout)
        product = tl.float32 if tuning.interpreted(k.device) else tl.bfloat16
        for size, last in _passes(layout.n, finest_group(config, layout.n)):
            earlier, places = places, torch.empty_like(places)
            large = size > SMALL_SET
            bisect_kernel[(triton.cdiv(whole, TILE), batch * heads)](
                *inputs, factors, earlier, places, heads, layout.k_video, layout.before, whole,
                HEAD_DIM=dim, DIM=row_width(dim), BLOCK=layout.n, TILE=TILE,
                SET=TILE if large else SMALL_SET, SIZE=size,
                LEVELS=(size // last).bit_length() - 1, ORDERED=ordered,
                WIDTH=min(tuning.gram_width(k.device, large), row_width(dim)), ROUNDS=ROUNDS,
                PRODUCT=product,
                num_warps=8 if large else 4, **tuning.gram_limit(k.device, large),
            )  # fmt: skip
    return Groups(places, channel_weights(power))


def _passes(n: int, finest: int) -> list[tuple[int, int]]:
    """(first, last size of the sets) of each launch, from blocks of `n` to sets of `finest`."""
    sizes = sorted({n, max(finest, min(n, SMALL_SET)), finest}, reverse=True)
    return list(pairwise(sizes)) or [(n, n)]


def _mean_squares(q: torch.Tensor, layout: Layout) -> torch.Tensor:
    """float32 `[B, Hkv, D]`: of each channel, over the video queries of the heads that share it."""
    batch, heads, dim = layout.batch, layout.heads, row_width(layout.head_dim)
    chunks = max(1, triton.cdiv(layout.q_video, CHUNK))
    sums = torch.empty(batch, heads, chunks, dim, dtype=torch.float32, device=q.device)
    power_kernel[(chunks, batch * heads)](
        q, *q.stride(), sums, heads, layout.q_video, layout.before, chunks,
        HEAD_DIM=layout.head_dim, DIM=dim, ROWS=32, CHUNK=CHUNK, num_warps=4,
    )  # fmt: skip
    shared = heads // layout.kv_heads
    sums = sums[..., : layout.head_dim].unflatten(1, (layout.kv_heads, shared))
    return sums.sum((2, 3)) / max(1, layout.q_video * shared)


def _factors(inputs: tuple, power: torch.Tensor, ordered: bool, layout: Layout) -> torch.Tensor:
    """float32 `[B, Hkv, 2, D]`: factors for the channels of keys and of values."""
    batch, heads, dim = layout.batch, layout.kv_heads, layout.head_dim
    samples = triton.cdiv(layout.k_video // layout.n, EVERY)
    sums = torch.empty(batch, heads, samples, 2, dtype=torch.float32, device=power.device)
    scales_kernel[(samples, batch * heads)](
        *inputs, power, sums, heads, layout.k_video, layout.before, samples, EVERY,
        HEAD_DIM=dim, DIM=row_width(dim), BLOCK=layout.n, ORDERED=ordered, num_warps=8,
    )  # fmt: skip
    # each half of a token has a mean square of 1/2, which keeps products in range
    size = (sums.sum(2) * 2 / (samples * layout.n)).sqrt()[..., None]
    both = torch.stack((power.sqrt(), torch.ones_like(power)), 2)
    return torch.where(size > 0, both / size, both)
