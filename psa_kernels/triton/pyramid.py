"""Stage 3: gathered keys and values, their means at every pooling level, and their statistics; the
host's side of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..stages import Groups, Orders
from . import tuning
from .common import order_args, padded_dim
from .pyramid_kernel import pool_kernel

TILE = 128  # places a program: no group of any level crosses a multiple of it


@dataclass(frozen=True)
class Pyramid:
    """Stored rows are `padded_dim(D)` wide, zeros past D.

    full_k, full_v      `[B, Hkv, Lk, DP]`: permuted video tokens, then extra ones; keys of the
                        inputs' dtype, values of `tuning.values_dtype`
    pooled_k, pooled_v  `[B, Hkv, rows, DP]`: one pooling level after the other, see `starts`
    log2_counts         float32 `[rows]`: log2 of the tokens behind a pooled row, very low for none
    spread              float32 `[B, Hkv, rows]` (section 6c); None without the second moment
    steepest            float32 `[B, Hkv]`: the largest spread / log2 count of a head's pooled rows
    longest             float32 `[B, Hkv]`: the largest squared norm of a head's keys
    allowed             int8 `[B, Hkv, key blocks]` (section 8); None without the similarity mask
    starts              pooling size -> its first pooled row
    """

    full_k: torch.Tensor
    full_v: torch.Tensor
    pooled_k: torch.Tensor
    pooled_v: torch.Tensor
    log2_counts: torch.Tensor
    spread: torch.Tensor | None
    steepest: torch.Tensor
    longest: torch.Tensor
    allowed: torch.Tensor | None
    starts: dict[int, int]
    layout: Layout

    def keys(self, b: int, kv_head: int) -> torch.Tensor:
        """float32 `[Lk, D]` in permuted order: video keys, then extra keys."""
        return self.full_k[b, kv_head, :, : self.layout.head_dim].float()

    @cached_property
    def rows(self) -> int:
        return self.pooled_k.shape[2]


def pooling_sizes(config: PSAConfig) -> list[int]:
    """The group sizes this configuration can read, finest first."""
    sizes = {x for x in (2, 4, 8) if config.mask_ratios.width(x) > 0}
    if config.use_sim_mask and sizes:
        # the similarity constraint can send a block to any finer level
        sizes |= {x for x in (2, 4, 8) if x < max(sizes)}
    if config.importance == "sub_block":
        sizes.add(8)
    if config.tail != "none":
        sizes.add(config.tail)
    return sorted(sizes)


@torch.no_grad()
def build_pyramid(
    k: torch.Tensor, v: torch.Tensor, orders: Orders, layout: Layout, config: PSAConfig,
    groups: Groups | None = None,
) -> Pyramid:  # fmt: skip
    """The pyramid of k and v `[B, Hkv, Lk, D]`, of any strides. Without `groups`, neighbours are
    pooled."""
    batch, heads, length = layout.batch, layout.kv_heads, layout.k_len
    dim = padded_dim(layout.head_dim)
    sizes = pooling_sizes(config)
    starts, rows = {}, 0
    for size in sizes:
        starts[size] = rows
        rows += layout.k_blocks * (layout.n // size)
    rows = max(rows, 1)

    kinds = k.dtype, tuning.values_dtype(k.device, k.dtype)
    full_k, full_v = (k.new_empty(batch, heads, length, dim, dtype=kind) for kind in kinds)
    pooled_k, pooled_v = (k.new_empty(batch, heads, rows, dim, dtype=kind) for kind in kinds)
    counts = torch.empty(rows, dtype=torch.float32, device=k.device)
    spread = allowed = None
    longest, steepest = torch.zeros(2, batch, heads, dtype=torch.float32, device=k.device)
    if config.second_moment:
        spread = torch.empty(batch, heads, rows, dtype=torch.float32, device=k.device)
    if config.use_sim_mask:
        allowed = torch.empty(batch, heads, layout.k_blocks, dtype=torch.int8, device=k.device)

    order, order_b, order_h, ordered = order_args(orders.k, k)
    whole = layout.k_video // layout.n * layout.n if groups is not None else 0
    places, places_b, places_h, weights, weights_b, weights_h = counts, 0, 0, counts, 0, 0
    if whole:
        places, places_b, places_h = groups.places, *groups.places.stride()[:2]
        weights, weights_b, weights_h = groups.weights, *groups.weights.stride()[:2]
    video_tiles = -(-layout.k_video // TILE)
    grid = (video_tiles + -(-layout.extra // TILE), batch * heads)
    for x, full, pooled, is_key in ((k, full_k, pooled_k, True), (v, full_v, pooled_v, False)):
        pool_kernel[grid](
            x, *x.stride(), order, order_b, order_h,
            places, places_b, places_h, weights, weights_b, weights_h, full, pooled,
            counts, spread if spread is not None else counts,
            steepest.view(torch.int32), longest.view(torch.int32),
            allowed if allowed is not None else counts,
            heads, length, layout.k_video, whole, layout.before, video_tiles, rows, layout.k_blocks,
            *(starts.get(size, 0) for size in (2, 4, 8, 16, 32, 64, 128)),
            config.sim_2x_threshold, config.sim_4x_threshold, config.sim_8x_threshold,
            HEAD_DIM=layout.head_dim, DIM=dim, BLOCK=layout.n, TILE=TILE, ORDERED=ordered,
            # powers of two: their sum names the levels
            SIZES=sum(sizes), DEPTH=max(sizes, default=1).bit_length() - 1,
            GROUPED=whole > 0, COUNTS=is_key, SPREAD=is_key and spread is not None,
            ALIKE=is_key and allowed is not None, num_warps=4 if dim <= 128 else 8,
        )
    return Pyramid(
        full_k, full_v, pooled_k, pooled_v, counts, spread, steepest, longest, allowed, starts,
        layout,
    )
