"""Stage 4: the share of each query block's softmax mass in each key block (section 5).

There are two kernels. `_pool_queries` (grid: tiles of 256 places; batch x heads) stores the means
of 16 consecutive queries. `_share_kernel` (grid: tiles of means; batch x heads) takes a tile of
means, 64 on sm_90, which are 8 query blocks of 128. It multiplies them with all groups of 8 keys of
their head twice: once for the log-sum-exp, once for the shares. Two such products cost less than
storing and reading back a `[sub-blocks, key blocks]` matrix, and a head's groups stay in the L2 for
both.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .. import reference
from ..config import PSAConfig
from ..layout import Layout, row_width
from ..reference.estimate import GROUP, SUB_BLOCK
from ..stages import Orders
from . import tuning
from .common import EMPTY, LOG2E, caller_position, columns_of, order_args
from .descriptors import row_tiles
from .pyramid import Pyramid

POOL_MEANS = 16  # per program of `_pool_queries`


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

    The compiled kernel is appended to `launched` (None in Triton's interpreter).
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
    _pool_queries[(triton.cdiv(means_count, POOL_MEANS), batch * heads)](
        q, *q.stride(), order, order_b, order_h, means,
        heads, layout.q_video, layout.before, means_count,
        HEAD_DIM=layout.head_dim, DIM=dim, ORDERED=ordered, MEANS=POOL_MEANS, SUB=SUB_BLOCK,
        num_warps=4 if dim <= 128 else 8,
    )  # fmt: skip

    tune = tune or tuning.estimate(q.device, q.dtype, dim)
    spread = pyramid.spread
    tiles = row_tiles(pyramid.pooled_k, tune.groups, tune.tma)
    kernel = _share_kernel[(triton.cdiv(means_count, tune.means), batch * heads)](
        means, tiles, pyramid.log2_counts,
        *((pyramid.log2_counts,) * 2 if spread is None else (spread, pyramid.steepest)),
        shares, heads, heads // layout.kv_heads, layout.q_video, layout.k_video, means_count,
        layout.q_blocks, layout.k_blocks, pyramid.rows, pyramid.starts[GROUP],
        scale * LOG2E, 0.5 * scale * scale * LOG2E,
        DIM=dim, MEANS=tune.means, GROUPS=tune.groups, PER_QUERY=layout.m // SUB_BLOCK,
        PER_KEY=layout.n // GROUP, M=layout.m, N=layout.n, SUB=SUB_BLOCK, SPREAD=spread is not None,
        CAUSAL=layout.causal, TMA=tune.tma, PRECISION=tuning.precision(q.device, q.dtype),
        STAGES=tune.stages, num_warps=tune.warps,
    )  # fmt: skip
    if launched is not None:
        launched.append(kernel)
    return shares


@triton.jit(do_not_specialize=["video", "before", "means_count"])
def _pool_queries(
    q, q_batch, q_head, q_row, q_dim, order, order_batch, order_head, means,
    heads, video, before, means_count,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ORDERED: tl.constexpr, MEANS: tl.constexpr,
    SUB: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    q += batch * q_batch + head * q_head
    order += batch * order_batch + head * order_head
    dims = tl.arange(0, DIM)
    row = tl.program_id(0) * MEANS + tl.arange(0, MEANS)
    # one load for each place in a sub-block, so that summing needs no exchange between threads
    total = tl.zeros([MEANS, DIM], tl.float32)
    for i in tl.static_range(SUB):
        place = row * SUB + i
        position = caller_position(order, place, video, before, ORDERED).to(tl.int64)
        values = tl.load(
            q + position[:, None] * q_row + dims[None, :] * q_dim,
            mask=(place < video)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        )  # fmt: skip
        total += values.to(tl.float32)
    count = tl.minimum(tl.maximum(video - row * SUB, 1), SUB)
    tl.store(
        means + (pair * means_count + row)[:, None] * DIM + dims[None, :],
        (total / count.to(tl.float32)[:, None]).to(means.dtype.element_ty),
        mask=(row < means_count)[:, None],
    )


@triton.jit
def _logits(
    q, norms, tiles, counts, spread, base, start, first, groups_count, row, video, scale, capped,
    DIM: tl.constexpr, GROUPS: tl.constexpr, PER_QUERY: tl.constexpr, PER_KEY: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, SPREAD: tl.constexpr, CAUSAL: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """log2 of the unnormalised mass `[MEANS, GROUPS]` of the groups from `first` on.

    WHOLE: all groups have 8 keys, so their bias is a constant.
    """
    column = first + tl.arange(0, GROUPS)
    real = column < groups_count
    if TMA:
        keys = tiles.load([(base + start + first).to(tl.int32), 0])
    else:
        dims = tl.arange(0, DIM)
        keys = tl.load(
            tiles + (base + start) * DIM + column[:, None] * DIM + dims[None, :],
            mask=real[:, None], other=0.0,
        )  # fmt: skip
    logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
    if WHOLE:
        bias = tl.full([GROUPS], 3.0, tl.float32)
        logits += 3.0
    else:
        bias = tl.load(counts + start + column, mask=real, other=EMPTY)
        logits += bias[None, :]
    if SPREAD:
        widths = columns_of(spread + base + start, column, real)
        corrected = logits + norms[:, None] * widths[None, :]
        if capped:
            # ln count is the cap on the Gaussian term (section 6c)
            corrected = tl.minimum(corrected, logits + bias[None, :])
        logits = corrected
    if not WHOLE:
        logits = tl.where(real[None, :], logits, EMPTY)
    if CAUSAL:
        # only blocks that end before the query block begins take part
        end = tl.minimum((column // PER_KEY + 1) * N, video)
        free = end[None, :] <= (row // PER_QUERY * M)[:, None]
        logits = tl.where(free, logits, EMPTY)
    return logits


@triton.jit
def _add(logits, high, total):
    """The running maximum and the sum of powers of two below it."""
    higher = tl.maximum(high, tl.max(logits, 1))
    total = total * tl.exp2(high - higher) + tl.sum(tl.exp2(logits - higher[:, None]), 1)
    return higher, total


@triton.jit
def _store_shares(
    logits, log_total, weight, shares, query_block, first, q_blocks, k_blocks,
    MEANS: tl.constexpr, GROUPS: tl.constexpr, PER_QUERY: tl.constexpr, PER_KEY: tl.constexpr,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """Sums a tile's mass by key block, and its weighted mean by query block."""
    share = tl.exp2(logits - log_total[:, None])
    if CAUSAL:
        # a row without any free block has no total
        share = tl.where(logits > 0.5 * EMPTY, share, 0.0)
    share = tl.sum(tl.reshape(share, [MEANS, GROUPS // PER_KEY, PER_KEY]), 2)
    share = share * weight[:, None]
    share = tl.sum(tl.reshape(share, [MEANS // PER_QUERY, PER_QUERY, GROUPS // PER_KEY]), 1)
    key_block = first // PER_KEY + tl.arange(0, GROUPS // PER_KEY)
    tl.store(
        shares + query_block[:, None] * k_blocks + key_block[None, :], share,
        mask=(query_block < q_blocks)[:, None] & (key_block < k_blocks)[None, :],
    )  # fmt: skip


@triton.jit(do_not_specialize=[
    "q_video", "k_video", "means_count", "q_blocks", "k_blocks", "rows", "start",
])  # fmt: skip
def _share_kernel(
    means, tiles, counts, spread, steepest, shares,
    heads, heads_per_kv, q_video, k_video, means_count, q_blocks, k_blocks, rows, start,
    scale, spread_scale,
    DIM: tl.constexpr, MEANS: tl.constexpr, GROUPS: tl.constexpr, PER_QUERY: tl.constexpr,
    PER_KEY: tl.constexpr, M: tl.constexpr, N: tl.constexpr, SUB: tl.constexpr,
    SPREAD: tl.constexpr, CAUSAL: tl.constexpr, TMA: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    # compilers pass Python floats as float64 or float32: fix one
    scale = tl.full([], scale, tl.float32)
    spread_scale = tl.full([], spread_scale, tl.float32)
    pair = tl.program_id(1).to(tl.int64)
    head = pair % heads
    kv_pair = (pair // heads) * (heads // heads_per_kv) + head // heads_per_kv
    base = kv_pair * rows
    shares += pair * q_blocks * k_blocks
    row = tl.program_id(0) * MEANS + tl.arange(0, MEANS)
    dims = tl.arange(0, DIM)
    q = tl.load(
        means + pair * means_count * DIM + row[:, None] * DIM + dims[None, :],
        mask=(row < means_count)[:, None], other=0.0,
    )  # fmt: skip
    norms = tl.sum(q.to(tl.float32) * q.to(tl.float32), 1) * spread_scale
    capped = False
    if SPREAD:
        # whether the cap can bind anywhere in this program
        capped = tl.max(norms, 0) * tl.load(steepest + kv_pair) > 1.0
    groups_count = k_blocks * PER_KEY
    # the end of the tiles whose groups are all whole; none of their blocks is masked
    whole = k_video // 8 // GROUPS * GROUPS
    if CAUSAL:
        whole = k_video * 0  # a zero of the same type: a branch must not change it

    high = tl.full([MEANS], EMPTY, tl.float32)
    total = tl.zeros([MEANS], tl.float32)
    for first in tl.range(0, whole, GROUPS, num_stages=STAGES):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         False, TMA, PRECISION, True)  # fmt: skip
        high, total = _add(logits, high, total)
    for first in tl.range(whole, groups_count, GROUPS, num_stages=1):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         CAUSAL, TMA, PRECISION, False)  # fmt: skip
        high, total = _add(logits, high, total)
    log_total = high + tl.log2(total)
    # each sub-block counts by its number of queries; a query block's weights add up to 1
    own = tl.minimum(tl.maximum(q_video - row * SUB, 0), SUB).to(tl.float32)
    block_queries = tl.minimum(tl.maximum(q_video - row // PER_QUERY * M, 1), M)
    weight = own / block_queries.to(tl.float32)

    query_block = tl.program_id(0) * (MEANS // PER_QUERY) + tl.arange(0, MEANS // PER_QUERY)
    for first in tl.range(0, whole, GROUPS, num_stages=STAGES):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         False, TMA, PRECISION, True)  # fmt: skip
        _store_shares(logits, log_total, weight, shares, query_block, first, q_blocks, k_blocks,
                      MEANS, GROUPS, PER_QUERY, PER_KEY, CAUSAL)  # fmt: skip
    for first in tl.range(whole, groups_count, GROUPS, num_stages=1):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         CAUSAL, TMA, PRECISION, False)  # fmt: skip
        _store_shares(logits, log_total, weight, shares, query_block, first, q_blocks, k_blocks,
                      MEANS, GROUPS, PER_QUERY, PER_KEY, CAUSAL)  # fmt: skip
