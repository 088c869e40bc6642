"""Stage 6: one online softmax over what the lists name; the host's side of it."""

from __future__ import annotations

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..stages import Orders
from . import tuning
from .attend_kernel import attend_kernel
from .common import LOG2E, order_args, padded_dim
from .descriptors import row_tiles
from .levels import POOLED, Plan
from .pyramid import Pyramid


@torch.no_grad()
def attend(
    q: torch.Tensor,
    pyramid: Pyramid,
    plan: Plan,
    orders: Orders,
    layout: Layout,
    config: PSAConfig,
    scale: float,
    tune: tuning.Attend | None = None,
    out: torch.Tensor | None = None,
    launched: list | None = None,
) -> torch.Tensor:
    """The attention of q `[B, H, Lq, D]` by `plan`, in q's dtype and the caller's token order.

    It is written to `out`, of q's shape and any strides. Without it the result is a view of
    contiguous `[B, Lq, H, D]` memory: what follows attention in a model reads `[B, Lq, H * D]`,
    which it then is without a copy. `launched` takes the compiled kernel, None in Triton's
    interpreter.
    """
    batch, heads, dim = layout.batch, layout.heads, padded_dim(layout.head_dim)
    if out is None:
        out = q.new_empty(batch, layout.q_len, heads, layout.head_dim).transpose(1, 2)
    full_k, pooled_k, scales, peaks = pyramid.full_k, pyramid.pooled_k, pyramid.longest, None
    int8 = pyramid.byte_keys is not None
    if int8:
        full_k, pooled_k = pyramid.byte_keys.full, pyramid.byte_keys.pooled
        scales, peaks = pyramid.byte_keys.scales, pyramid.byte_keys.peaks
    tune = tune or tuning.attend(q.device, q.dtype, dim, "int8" if int8 else "half")
    rows = min(tune.rows, layout.m)
    # blocks narrower than 64 go several to a tile (`full_blocks`), bytes one
    tile = min(tune.tile, layout.n) if layout.n >= 64 or int8 else tune.tile
    sizes = [x for x in POOLED if x in pyramid.starts and _is_listed(x, config)]
    tail = 0 if config.tail == "none" or config.mask_ratios.width(0) == 0 else config.tail
    if layout.k_blocks == 0:
        sizes, tail = [], 0
    order, order_b, order_h, ordered = order_args(orders.q, q)
    spread = pyramid.spread
    per_block = layout.m // rows
    grid = ((layout.q_extra_blocks + layout.q_blocks) * per_block, batch * heads)
    kernel = attend_kernel[grid](
        q, *q.stride(), order, order_b, order_h, out, *out.stride(),
        full_k, pyramid.full_v, pooled_k, pyramid.pooled_v,
        row_tiles(full_k, tile, tune.tma), row_tiles(pyramid.full_v, tile, tune.tma),
        row_tiles(pooled_k, tune.tile, tune.tma),
        row_tiles(pyramid.pooled_v, tune.tile, tune.tma),
        pyramid.log2_counts,
        *((pyramid.log2_counts,) * 2 if spread is None else (spread, pyramid.steepest)),
        pyramid.longest, scales, scales if peaks is None else peaks,
        plan.matrix, plan.full, plan.chunks, plan.counts, plan.coarse,
        plan.full.shape[-1], plan.chunks.shape[-1], plan.coarse.shape[-1],
        heads, heads // layout.kv_heads, layout.q_len, layout.k_len, layout.q_video, layout.k_video,
        layout.before, layout.q_blocks, layout.k_blocks, layout.q_extra_blocks * per_block,
        pyramid.rows, *(pyramid.starts.get(x, 0) for x in (2, 4, 8, tail)),
        abs(scale) * LOG2E, 0.5 * scale * scale * LOG2E,
        HEAD_DIM=layout.head_dim, DIM=dim, M=layout.m, N=layout.n, ROWS=rows, FULL_TILE=tile,
        TILE=tune.tile, SMALL=min(64, tune.tile), TAIL=tail,
        LOG2_TAIL=float(max(tail, 1).bit_length() - 1),
        # powers of two: their sum names the levels in the list
        LISTED=sum(sizes), POOLED=bool(sizes) or tail > 0, SPREAD=spread is not None,
        ORDERED=ordered, CAUSAL=layout.causal, NEGATIVE=scale < 0, TMA=tune.tma,
        PRECISION=tuning.precision(q.device, q.dtype),
        BOUNDED=tuning.bounded(q.device, q.dtype), INT8=int8, FULL_STAGES=tune.full_stages,
        LIST_STAGES=tune.list_stages,
        TAIL_STAGES=tune.tail_stages if spread is None else tune.spread_stages,
        num_warps=tune.warps, **({"maxnreg": tune.registers} if tune.registers else {}),
    )  # fmt: skip
    if launched is not None:
        launched.append(kernel)
    return out


def _is_listed(size: int, config: PSAConfig) -> bool:
    """Whether any block can be on the pooling level `size`."""
    widths = config.mask_ratios
    if widths.width(size) > 0:
        return True
    return config.use_sim_mask and any(widths.width(x) > 0 for x in POOLED if x > size)

