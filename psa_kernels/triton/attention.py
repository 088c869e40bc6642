"""Stage 6: one online softmax over the listed blocks; the CPU side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from ..config import PSAConfig
from ..layout import Layout, row_width
from ..stages import Orders
from . import hopper, tuning
from .attend_kernel import attend_kernel
from .common import LOG2E, order_args
from .descriptors import row_tiles
from .gpus import out_of_memory
from .levels import Plan, listed_levels
from .pyramid import Pyramid, pooled_rows


@dataclass(frozen=True)
class _Launch:
    """The kernel's arguments that follow from a call's sizes, its configuration and its GPU.

    tile, pooled_tile  rows of a tile of full keys, and of pooled keys
    numbers            from `heads` to `tail_start`, in the order of `attend_kernel`
    constants          compile-time arguments
    """

    tile: int
    pooled_tile: int
    tma: bool
    grid: tuple[int, int]
    numbers: tuple[int, ...]
    constants: dict


@lru_cache(maxsize=256)
def _launch_of(
    layout: Layout, config: PSAConfig, tune: tuning.Attend, dtype: torch.dtype,
    device: torch.device, int8: bool, negative: bool,
) -> _Launch:  # fmt: skip
    starts, stored = pooled_rows(layout, config)
    half_sums = config.value_sums == "float16"
    rows = layout.m if tune.specialised else min(tune.rows, layout.m)
    # blocks narrower than 64 go several to a tile (`full_blocks`), bytes one
    tile = min(tune.tile, layout.n) if layout.n >= 64 or int8 else tune.tile
    sizes = [x for x in listed_levels(config) if x in starts]
    tail = 0 if config.tail == "none" or config.mask_ratios.width(0) == 0 else config.tail
    if layout.k_blocks == 0:
        sizes, tail = [], 0
    per_block = layout.m // rows
    numbers = (
        layout.heads, layout.heads // layout.kv_heads, layout.q_len, layout.k_len, layout.q_video,
        layout.k_video, layout.before, layout.q_blocks, layout.k_blocks,
        layout.q_extra_blocks * per_block, stored, *(starts.get(x, 0) for x in (2, 4, 8, tail)),
    )  # fmt: skip
    constants = {
        "HEAD_DIM": layout.head_dim, "DIM": row_width(layout.head_dim), "M": layout.m,
        "N": layout.n, "ROWS": rows, "FULL_TILE": tile, "TILE": tune.tile,
        "SMALL": min(64, tune.tile), "TAIL": tail,
        "LOG2_TAIL": float(max(tail, 1).bit_length() - 1),
        # powers of two: their sum names the levels in the list
        "LISTED": sum(sizes), "POOLED": bool(sizes) or tail > 0, "SPREAD": config.second_moment,
        "CAUSAL": layout.causal, "NEGATIVE": negative, "TMA": tune.tma,
        "PRECISION": tuning.precision(device, dtype),
        "BOUNDED": not half_sums and tuning.bounded(device, dtype),
        "INT8": int8, "HALF_SUMS": half_sums,
        "FULL_STAGES": tune.full_stages, "LIST_STAGES": tune.list_stages,
        "TAIL_STAGES": tune.spread_stages if config.second_moment else tune.tail_stages,
        "num_warps": tune.warps,
    }  # fmt: skip
    if tune.registers:
        constants["maxnreg"] = tune.registers
    grid = ((layout.q_extra_blocks + layout.q_blocks) * per_block, layout.batch * layout.heads)
    return _Launch(tile, tune.tile, tune.tma, grid, numbers, constants)


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

    The result is written to `out`, of q's shape and any strides. Without `out` it is a view of
    contiguous `[B, Lq, H, D]` memory, because models go on with `[B, Lq, H * D]` and then need no
    copy. The compiled kernel is appended to `launched` (None in Triton's interpreter).

    `tune`: settings of the caller's choice. What cannot be launched with them is raised, and no
    other kernel takes the place of theirs. `ValueError` for specialised ones that do not serve the
    call.
    """
    if out is None:
        row = layout.heads * layout.head_dim
        out = q.new_empty_strided(
            (layout.batch, layout.heads, layout.q_len, layout.head_dim),
            (layout.q_len * row, layout.head_dim, row, 1),
        )
    full_k, pooled_k, full_v, pooled_v = (
        pyramid.full_k, pyramid.pooled_k, pyramid.full_v, pyramid.pooled_v,
    )  # fmt: skip
    # placeholders, which a kernel without bytes, float16 sums or second moment does not read
    scales = peaks = value_peaks = pyramid.longest
    spread = steepest = counts = pyramid.log2_counts
    in_bytes = pyramid.byte_keys
    if in_bytes is not None:
        full_k, pooled_k = in_bytes.full, in_bytes.pooled
        scales, peaks = in_bytes.scales, in_bytes.peaks
    if pyramid.spread is not None:
        spread, steepest = pyramid.spread, pyramid.steepest
    if pyramid.value_peaks is not None:
        value_peaks = pyramid.value_peaks
    half_sums = pyramid.value_peaks is not None
    precision = "half" if in_bytes is None else "int8"
    of_call = q.device, q.dtype, pooled_v.shape[-1]
    given = tune is not None
    tune = tune or tuning.attend(*of_call, precision, "float16" if half_sums else "float32")
    if tune.specialised and not hopper.serves(layout, half_sums, q.device):
        if given:
            lacking = hopper.lacking(q.device) or "it has not such blocks, heads, masks or sums"
            raise ValueError(f"tune: the attention for Hopper GPUs does not serve this: {lacking}")
        tune = tuning.portable_attend(*of_call, precision)
    negative = scale < 0
    launch = _launch_of(layout, config, tune, q.dtype, q.device, in_bytes is not None, negative)
    *order, ordered = order_args(orders.q, q)
    tiles = full_k, full_v, pooled_k, pooled_v
    sums = counts, spread, steepest, pyramid.longest, scales, peaks
    lists = (
        plan.matrix, plan.full, plan.chunks, plan.counts, plan.coarse,
        plan.full.shape[-1], plan.chunks.shape[-1], plan.coarse.shape[-1], *launch.numbers,
        abs(scale) * LOG2E, 0.5 * scale * scale * LOG2E,
    )  # fmt: skip
    constants = launch.constants | {"ORDERED": ordered}
    if tune.specialised:
        from .hopper.launch import launch as launch_on_hopper  # needs Gluon

        try:
            kernel = launch_on_hopper(
                q, out, order, tiles, (*sums, *lists), launch.grid, constants, tune.full_stages
            )
        except Exception as error:  # of an experimental compiler
            if given or out_of_memory(error):
                raise
            tune = tuning.portable_attend(*of_call, precision)
            out = attend(q, pyramid, plan, orders, layout, config, scale, tune, out, launched)
            hopper.give_up(error)  # only now: where that fails too, the GPU or the call is at fault
            return out
    else:
        tile, pooled_tile, tma = launch.tile, launch.pooled_tile, launch.tma
        kernel = attend_kernel[launch.grid](
            q, *q.stride(), *order, out, *out.stride(), *tiles,
            row_tiles(full_k, tile, tma), row_tiles(full_v, tile, tma),
            row_tiles(pooled_k, pooled_tile, tma), row_tiles(pooled_v, pooled_tile, tma),
            *sums, value_peaks, *lists, **constants,
        )  # fmt: skip
    if launched is not None:
        launched.append(kernel)
    return out
