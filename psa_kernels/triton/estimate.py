"""Stage 4: the share of each query block's softmax mass in each key block (section 5), the CPU
side."""

from __future__ import annotations

import torch
import triton

from .. import reference
from ..config import PSAConfig
from ..layout import Layout, row_width
from ..reference.estimate import GROUP, SUB_BLOCK
from ..stages import Orders
from . import tuning
from .common import LOG2E, order_args
from .descriptors import row_tiles
from .estimate_kernel import mass_kernel, pool_queries_kernel, share_kernel
from .pyramid import Pyramid

POOL_MEANS = 16  # per program of `pool_queries_kernel`
SHARE_KEYS = 64  # key blocks per program of `share_kernel`


def importance(
    q: torch.Tensor,
    pyramid: Pyramid,
    orders: Orders,
    layout: Layout,
    config: PSAConfig,
    scale: float,
    tune: tuning.Estimate | None = None,
    launched: list | None = None,
) -> torch.Tensor:
    """S `[B, H, video query blocks, video key blocks]`, float32; see the reference's.

    The compiled `mass_kernel` is appended to `launched` (None in Triton's interpreter).
    """
    if config.importance == "exact":
        return reference.importance(q, pyramid, orders, layout, config, scale)
    batch, heads, dim = layout.batch, layout.heads, row_width(layout.head_dim)
    shape = (batch, heads, layout.q_blocks, layout.k_blocks)
    shares = torch.empty(shape, dtype=torch.float32, device=q.device)
    if shares.numel() == 0:
        return shares
    means_count = layout.q_blocks * (layout.m // SUB_BLOCK)
    means = q.new_empty(batch, heads, means_count, dim)
    order, order_b, order_h, ordered = order_args(orders.q, q)
    pool_queries_kernel[(triton.cdiv(means_count, POOL_MEANS), batch * heads)](
        q, *q.stride(), order, order_b, order_h, means,
        heads, layout.q_video, layout.before, means_count,
        HEAD_DIM=layout.head_dim, DIM=dim, ORDERED=ordered, MEANS=POOL_MEANS, SUB=SUB_BLOCK,
        num_warps=4 if dim <= 128 else 8,
    )  # fmt: skip

    tune = tune or tuning.estimate(q.device, q.dtype, dim)
    spread = pyramid.spread
    tiles = row_tiles(pyramid.pooled_k, tune.groups, tune.tma)
    per_query, per_key = layout.m // SUB_BLOCK, layout.n // GROUP
    tile_count = triton.cdiv(layout.k_blocks * per_key, tune.groups)
    stored_rows = layout.k_blocks + tile_count + 1
    chunks = triton.cdiv(layout.k_blocks, SHARE_KEYS)
    width = _means_at_a_time(means_count, stored_rows, tune.means, layout, q.element_size())
    stored = torch.empty(batch * heads, stored_rows, width, dtype=torch.float32, device=q.device)
    for first in range(0, means_count, width):
        programs = triton.cdiv(min(width, means_count - first), tune.means)
        kernel = mass_kernel[(programs, batch * heads)](
            means, tiles, pyramid.log2_counts,
            *((pyramid.log2_counts,) * 2 if spread is None else (spread, pyramid.steepest)),
            stored, heads, heads // layout.kv_heads, layout.k_video, means_count, layout.k_blocks,
            pyramid.rows, pyramid.starts[GROUP], first, width,
            scale * LOG2E, 0.5 * scale * scale * LOG2E,
            DIM=dim, MEANS=tune.means, GROUPS=tune.groups, PER_QUERY=per_query, PER_KEY=per_key,
            M=layout.m, N=layout.n, SPREAD=spread is not None, CAUSAL=layout.causal, TMA=tune.tma,
            PRECISION=tuning.precision(q.device, q.dtype), STAGES=tune.stages,
            num_warps=tune.warps,
        )  # fmt: skip
        share_kernel[(programs * chunks, batch * heads)](
            stored, shares, layout.q_video, layout.q_blocks, layout.k_blocks, chunks, tile_count,
            first, width,
            MEANS=tune.means, KEYS=SHARE_KEYS, PER_QUERY=per_query,
            PER_TILE=tune.groups // per_key, M=layout.m, SUB=SUB_BLOCK, num_warps=4,
        )  # fmt: skip
        if launched is not None:
            launched.append(kernel)
    return shares


def _means_at_a_time(
    means_count: int, stored_rows: int, tile: int, layout: Layout, element_size: int
) -> int:
    """How many means are worked on at a time, in whole tiles: all of them, unless their mass takes
    more memory than the output, which is allocated later."""
    output = layout.q_len * layout.head_dim * element_size
    most = max(1, output // (4 * stored_rows * tile))
    return tile * min(most, triton.cdiv(means_count, tile))
