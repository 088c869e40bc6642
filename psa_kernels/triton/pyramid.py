"""Stage 3: gathered keys and values, their means at every pooling level, and their statistics; the
host's side of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..reference.pyramid import pooling_sizes
from ..stages import Groups, Orders
from . import tuning
from .common import order_args, padded_dim
from .pyramid_kernel import bytes_kernel, pool_kernel, sum_keys_kernel
from .support import int8_unused

TILE = 128  # places a program: no group of any level crosses a multiple of it
CHUNK = 1024  # keys a program of `sum_keys_kernel`


@dataclass(frozen=True)
class ByteKeys:
    """Keys for integer products (section 6d), less the mean of their head's video keys.

    full    int8 `[B, Hkv, Lk, DP]`: times the block's of `scales`
    scales  float32 `[B, Hkv, key blocks, extra ones too]`
    pooled  int8 `[B, Hkv, rows, DP]`: times the head's of `peaks` / 127
    peaks   float32 `[B, Hkv]`: the largest magnitude of a pooled key
    """

    full: torch.Tensor
    scales: torch.Tensor
    pooled: torch.Tensor
    peaks: torch.Tensor


@dataclass(frozen=True)
class Pyramid:
    """Stored rows are `padded_dim(D)` wide, zeros past D.

    full_k, full_v      `[B, Hkv, Lk, DP]`: permuted video tokens, then extra ones; keys of the
                        inputs' dtype, values of `tuning.values_dtype`; with `byte_keys` no full_k,
                        but for the exact importance
    pooled_k, pooled_v  `[B, Hkv, rows, DP]`: one pooling level after the other, see `starts`; with
                        `byte_keys` keys are less the mean of their head's video keys
    log2_counts         float32 `[rows]`: log2 of the tokens behind a pooled row, very low for none
    spread              float32 `[B, Hkv, rows]` (section 6c); None without the second moment
    steepest            float32 `[B, Hkv]`: the largest spread / log2 count of a head's pooled rows
    longest             float32 `[B, Hkv]`: the largest squared norm of a head's keys, with
                        `byte_keys` less their mean
    allowed             int8 `[B, Hkv, key blocks]` (section 8); None without the similarity mask
    starts              pooling size -> its first pooled row
    byte_keys           what queries are multiplied with, if that is not full_k and pooled_k
    """

    full_k: torch.Tensor | None
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
    byte_keys: ByteKeys | None = None

    def keys(self, b: int, kv_head: int) -> torch.Tensor:
        """float32 `[Lk, D]` in permuted order: video keys, then extra keys."""
        return self.full_k[b, kv_head, :, : self.layout.head_dim].float()

    @cached_property
    def rows(self) -> int:
        return self.pooled_k.shape[2]


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

    as_bytes = config.qk != "half" and not int8_unused(k, layout, config)
    kinds = k.dtype, tuning.values_dtype(k.device, k.dtype)
    pooled_k, pooled_v = (k.new_empty(batch, heads, rows, dim, dtype=kind) for kind in kinds)
    full_v = k.new_empty(batch, heads, length, dim, dtype=kinds[1])
    full_k = byte_keys = center = None
    if not as_bytes or config.importance == "exact":
        full_k = k.new_empty(batch, heads, length, dim)
    counts = torch.empty(rows, dtype=torch.float32, device=k.device)
    spread = allowed = None
    longest, steepest, peaks = torch.zeros(3, batch, heads, dtype=torch.float32, device=k.device)
    scaled_blocks = layout.k_blocks + layout.k_extra_blocks
    if as_bytes:
        center = _mean_key(k, layout)
        byte_keys = ByteKeys(
            torch.empty(batch, heads, length, dim, dtype=torch.int8, device=k.device),
            torch.empty(batch, heads, scaled_blocks, dtype=torch.float32, device=k.device),
            torch.empty(pooled_k.shape, dtype=torch.int8, device=k.device), peaks,
        )  # fmt: skip
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
        in_bytes = is_key and as_bytes
        byte_args = (byte_keys.full, byte_keys.scales, center) if in_bytes else (counts,) * 3
        pool_kernel[grid](
            x, *x.stride(), order, order_b, order_h,
            places, places_b, places_h, weights, weights_b, weights_h,
            full if full is not None else pooled, pooled, *byte_args, peaks.view(torch.int32),
            counts, spread if spread is not None else counts,
            steepest.view(torch.int32), longest.view(torch.int32),
            allowed if allowed is not None else counts,
            heads, length, layout.k_video, whole, layout.before, video_tiles, rows, layout.k_blocks,
            scaled_blocks,
            *(starts.get(size, 0) for size in (2, 4, 8, 16, 32, 64, 128)),
            config.sim_2x_threshold, config.sim_4x_threshold, config.sim_8x_threshold,
            HEAD_DIM=layout.head_dim, DIM=dim, BLOCK=layout.n, TILE=TILE, ORDERED=ordered,
            # powers of two: their sum names the levels
            SIZES=sum(sizes), DEPTH=max(sizes, default=1).bit_length() - 1,
            GROUPED=whole > 0, COUNTS=is_key, SPREAD=is_key and spread is not None,
            ALIKE=is_key and allowed is not None, BYTES=in_bytes, HALF=full is not None,
            num_warps=8 if dim > 128 or in_bytes else 4,
        )
    if as_bytes:
        bytes_kernel[(-(-rows // TILE), batch * heads)](
            pooled_k, byte_keys.pooled, peaks, rows, DIM=dim, TILE=TILE, num_warps=8
        )
    return Pyramid(
        full_k, full_v, pooled_k, pooled_v, counts, spread, steepest, longest, allowed, starts,
        layout, byte_keys,
    )


def _mean_key(k: torch.Tensor, layout: Layout) -> torch.Tensor:
    """float32 `[B, Hkv, D]`: the mean of a head's video keys."""
    batch, heads, dim = layout.batch, layout.kv_heads, layout.head_dim
    chunks = max(1, -(-layout.k_video // CHUNK))
    sums = torch.empty(batch, heads, chunks, dim, dtype=torch.float32, device=k.device)
    sum_keys_kernel[(chunks, batch * heads)](
        k, *k.stride(), sums, heads, layout.k_video, layout.before, chunks,
        HEAD_DIM=dim, DIM=padded_dim(dim), ROWS=32, CHUNK=CHUNK, num_warps=4,
    )  # fmt: skip
    return sums.sum(2) / max(1, layout.k_video)
