"""Stage 3: gathered keys and values, their means at every pooling level, and their statistics; the
CPU side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from ..config import PSAConfig
from ..layout import Layout, row_width
from ..stages import Groups, Orders
from . import tuning
from .common import order_args
from .head_scales_kernel import bytes_kernel, peak_kernel, sum_keys_kernel
from .pyramid_kernel import pool_kernel

TILE = 128  # places a program: no group of any level crosses a multiple of it
CHUNK = 1024  # tokens a program of `sum_keys_kernel` and `peak_kernel`


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
    """Stored rows are `row_width(D)` wide, zeros past D.

    full_k, full_v      `[B, Hkv, Lk, DP]`: permuted video tokens, then extra ones; keys of the
                        inputs' dtype, values of `tuning.values_dtype`; with `byte_keys` no full_k,
                        but for the exact importance; with `value_peaks` values are times the power
                        of two that `common.value_scale` says
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
    value_peaks         float32 `[B, Hkv]`: the largest finite magnitude of a head's values, where
                        they are for sums in float16 (section 6e)
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
    value_peaks: torch.Tensor | None = None

    def keys(self, b: int, kv_head: int) -> torch.Tensor:
        """float32 `[Lk, D]` in permuted order: video keys, then extra keys."""
        return self.full_k[b, kv_head, :, : self.layout.head_dim].float()

    @cached_property
    def rows(self) -> int:
        return self.pooled_k.shape[2]


def pooled_rows(layout: Layout, config: PSAConfig) -> tuple[dict[int, int], int]:
    """(starts, rows) as in `Pyramid`."""
    starts, rows = {}, 0
    for size in config.pooling_sizes:
        starts[size] = rows
        rows += layout.k_blocks * (layout.n // size)
    return starts, max(rows, 1)


@dataclass(frozen=True)
class _Launch:
    """What the sizes of a call, its configuration and its GPU say of the kernels' arguments.

    starts, rows  as in `Pyramid`
    values        the dtype that values are stored in
    numbers       from `before` on, in the order of `pool_kernel`
    keys, others  what `pool_kernel` is compiled for; `others`: for values
    """

    dim: int
    starts: dict[int, int]
    rows: int
    values: torch.dtype
    scaled_blocks: int
    keep_keys: bool
    whole: int
    grid: tuple[int, int]
    bytes_grid: tuple[int, int]
    peak_grid: tuple[int, int]
    numbers: tuple
    keys: dict
    others: dict


@lru_cache(maxsize=256)
def _launch_of(
    layout: Layout, config: PSAConfig, dtype: torch.dtype, device: torch.device, int8: bool,
    grouped: bool,
) -> _Launch:  # fmt: skip
    sizes = config.pooling_sizes
    starts, rows = pooled_rows(layout, config)
    coarsest = max(sizes, default=1)
    dim = row_width(layout.head_dim)
    whole = layout.k_video // layout.n * layout.n if grouped else 0
    video_tiles = -(-layout.k_video // TILE)
    pairs = layout.batch * layout.kv_heads
    scaled_blocks = layout.k_blocks + layout.k_extra_blocks
    numbers = (
        layout.kv_heads, layout.k_len, layout.k_video, whole, layout.before, video_tiles, rows,
        layout.k_blocks, scaled_blocks, *(starts.get(x, 0) for x in (2, 4, 8, coarsest)),
        config.sim_2x_threshold, config.sim_4x_threshold, config.sim_8x_threshold,
    )  # fmt: skip
    half_sums = config.value_sums == "float16"
    keep_keys = not int8 or config.importance == "exact"
    common = {
        "HEAD_DIM": layout.head_dim, "DIM": dim, "BLOCK": layout.n, "TILE": TILE,
        # powers of two: their sum names the levels
        "SIZES": sum(sizes), "FAN": max(8, coarsest) // 8, "GROUPED": whole > 0,
    }  # fmt: skip
    running = config.second_moment and not {2, 4} & {*sizes}
    keys = common | {
        "COUNTS": True, "SPREAD": config.second_moment, "RUNNING": running,
        "ALIKE": config.use_sim_mask,
        "BYTES": int8, "HALF": keep_keys, "HALF_SUMS": False,
        "num_warps": 8 if dim > 128 else 4,
    }  # fmt: skip
    if (int8 or running) and dim == 128 and tuning.limits_registers(device):
        # so that a third program fits on a multiprocessor, or a fourth. Narrower rows mostly take
        # no more by themselves; of wider ones, in 8 warps, only one fits either way
        keys["maxnreg"] = 168 if int8 else 128
    others = common | {
        "COUNTS": False, "SPREAD": False, "RUNNING": False, "ALIKE": False, "BYTES": False,
        "HALF": True, "HALF_SUMS": half_sums, "num_warps": 8 if dim > 128 else 4,
    }  # fmt: skip
    return _Launch(
        dim, starts, rows, tuning.values_dtype(device, dtype, half_sums), scaled_blocks, keep_keys,
        whole, (video_tiles + -(-layout.extra // TILE), pairs), (-(-rows // TILE), pairs),
        (-(-layout.k_len // CHUNK), pairs), numbers, keys, others,
    )  # fmt: skip


def build_pyramid(
    k: torch.Tensor, v: torch.Tensor, orders: Orders, layout: Layout, config: PSAConfig,
    groups: Groups | None = None,
) -> Pyramid:  # fmt: skip
    """The pyramid of k and v `[B, Hkv, Lk, D]`, of any strides. Without `groups`, neighbours are
    pooled."""
    int8, half_sums = config.qk == "int8", config.value_sums == "float16"
    launch = _launch_of(layout, config, k.dtype, k.device, int8, groups is not None)
    batch, heads, length = layout.batch, layout.kv_heads, layout.k_len
    dim, rows, device, values = launch.dim, launch.rows, k.device, launch.values

    pooled_k = k.new_empty(batch, heads, rows, dim)
    pooled_v = k.new_empty(batch, heads, rows, dim, dtype=values)
    full_v = k.new_empty(batch, heads, length, dim, dtype=values)
    full_k = k.new_empty(batch, heads, length, dim) if launch.keep_keys else None
    counts = torch.empty(rows, dtype=torch.float32, device=device)
    spread = allowed = byte_keys = center = None
    extremes = torch.zeros(4, batch, heads, dtype=torch.float32, device=device)
    longest, steepest, peaks, value_peaks = extremes.unbind()
    if int8:
        center = _mean_key(k, layout)
        byte_keys = ByteKeys(
            torch.empty(batch, heads, length, dim, dtype=torch.int8, device=device),
            torch.empty(batch, heads, launch.scaled_blocks, dtype=torch.float32, device=device),
            torch.empty(batch, heads, rows, dim, dtype=torch.int8, device=device), peaks,
        )  # fmt: skip
    if config.second_moment:
        spread = torch.empty(batch, heads, rows, dtype=torch.float32, device=device)
    if config.use_sim_mask:
        allowed = torch.empty(batch, heads, layout.k_blocks, dtype=torch.int8, device=device)

    order, order_b, order_h, ordered = order_args(orders.k, k)
    places, places_b, places_h, weights, weights_b, weights_h = counts, 0, 0, counts, 0, 0
    if launch.whole:
        places, places_b, places_h = groups.places, *groups.places.stride()[:2]
        weights, weights_b, weights_h = groups.weights, *groups.weights.stride()[:2]
    in_order = (
        order, order_b, order_h, places, places_b, places_h, weights, weights_b, weights_h,
    )  # fmt: skip
    sums = (
        counts, counts if spread is None else spread, steepest, longest,
        counts if allowed is None else allowed, *launch.numbers,
    )  # fmt: skip
    key_bytes = (byte_keys.full, byte_keys.scales, center) if int8 else (counts, counts, counts)
    pool_kernel[launch.grid](
        k, *k.stride(), *in_order, pooled_k if full_k is None else full_k, pooled_k, *key_bytes,
        peaks, *sums, ORDERED=ordered, **launch.keys,
    )  # fmt: skip
    if half_sums:
        peak_kernel[launch.peak_grid](
            v, *v.stride(), value_peaks, heads, length,
            HEAD_DIM=layout.head_dim, DIM=dim, ROWS=32, CHUNK=CHUNK, num_warps=4,
        )  # fmt: skip
    pool_kernel[launch.grid](
        v, *v.stride(), *in_order, full_v, pooled_v, counts, counts, counts,
        value_peaks if half_sums else counts, *sums, ORDERED=ordered, **launch.others,
    )  # fmt: skip
    if int8:
        bytes_kernel[launch.bytes_grid](
            pooled_k, byte_keys.pooled, peaks, rows, DIM=dim, TILE=TILE, num_warps=8
        )
    return Pyramid(
        full_k, full_v, pooled_k, pooled_v, counts, spread, steepest, longest, allowed,
        launch.starts, layout, byte_keys, value_peaks if half_sums else None,
    )  # fmt: skip


def _mean_key(k: torch.Tensor, layout: Layout) -> torch.Tensor:
    """float32 `[B, Hkv, D]`: the mean of a head's video keys."""
    batch, heads, dim = layout.batch, layout.kv_heads, layout.head_dim
    chunks = max(1, -(-layout.k_video // CHUNK))
    sums = torch.empty(batch, heads, chunks, dim, dtype=torch.float32, device=k.device)
    sum_keys_kernel[(chunks, batch * heads)](
        k, *k.stride(), sums, heads, layout.k_video, layout.before, chunks,
        HEAD_DIM=dim, DIM=row_width(dim), ROWS=32, CHUNK=CHUNK, num_warps=4,
    )  # fmt: skip
    return sums.sum(2) / max(1, layout.k_video)
